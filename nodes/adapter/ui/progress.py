"""Messages to the page of the user whose prompt runs; outside of a server they do nothing."""

from __future__ import annotations

from typing import Any

from comfy_execution.progress import get_progress_state
from comfy_execution.utils import get_executing_context


def send_event(event: str, values: dict[str, Any]) -> None:
    """Send an event with the id of the running node to our JavaScript extension."""
    node = _running_node()
    if node is not None:
        server = _server()
        server.send_sync(event, {"node": node, **values}, server.client_id)


def send_progress_text(text: str) -> None:
    """Show a line of text on the running node, by ComfyUI's own front end."""
    node = _running_node()
    if node is not None:
        server = _server()
        server.send_progress_text(text, node, server.client_id)


def _running_node() -> str | None:
    """Return the id of the node as the user sees it: inside a subgraph, the subgraph's id."""
    context = get_executing_context()
    if context is None:  # not in a server
        return None
    return get_progress_state().dynprompt.get_display_node_id(context.node_id)


def _server() -> Any:
    from server import PromptServer  # only servers have imported it

    return PromptServer.instance
