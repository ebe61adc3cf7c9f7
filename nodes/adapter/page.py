"""What a node tells the page of the user whose prompt runs, while it runs."""

from __future__ import annotations

from typing import Any

from comfy_execution.progress import get_progress_state
from comfy_execution.utils import get_executing_context


def send(event: str, values: dict[str, Any]) -> None:
    """An event for our extension, with the node that runs; outside of a server, nothing."""
    node = _running_node()
    if node is not None:
        server = _server()
        server.send_sync(event, {"node": node, **values}, server.client_id)


def say(text: str) -> None:
    """A line on the node that runs; ComfyUI's own front end shows it."""
    node = _running_node()
    if node is not None:
        server = _server()
        server.send_progress_text(text, node, server.client_id)


def _running_node() -> str | None:
    """The id of what the user sees of it: in a subgraph, another than its own."""
    context = get_executing_context()
    if context is None:  # not in a server
        return None
    return get_progress_state().dynprompt.get_display_node_id(context.node_id)


def _server() -> Any:
    from server import PromptServer  # only servers have imported it

    return PromptServer.instance
