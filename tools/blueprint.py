"""Text to video as one node: a blueprint of ComfyUI, made from the saved first workflow.

Front ends that know blueprints list the files of `subgraphs/` among the nodes: a subgraph that is
added to a graph as one node, and can be opened. `make_workflows.py --files` writes it.
"""

from __future__ import annotations

import uuid
from typing import Any

NAME = "Hummingbird Text to Video"
CATEGORY = "Video generation and editing/Text to video"
DESCRIPTION = "Generates a short video from a prompt, with the built-in model or a released one."
ID = str(uuid.uuid5(uuid.NAMESPACE_DNS, "hummingbird.text-to-video"))
INPUT_NODE, OUTPUT_NODE = -10, -20  # ids that the front end gives the ends of a subgraph
# Inputs shown on the node, by the id of the node inside.
SHOWN = (
    (1, ("checkpoint",)),
    (2, ("prompt",)),
    (3, ("width", "height", "frames", "steps", "seed")),
)
END = "SaveVideo"


def blueprint(workflow: dict[str, Any]) -> dict[str, Any]:
    """Return the blueprint of a saved text-to-video workflow: all nodes before Save Video."""
    subgraph = _subgraph(workflow)
    node_id = subgraph["state"]["lastNodeId"] + 1
    return {
        "revision": 0,
        "last_node_id": node_id,
        "last_link_id": 0,
        "nodes": [_node(node_id, subgraph["outputs"][0]["type"])],
        "links": [],
        "version": 0.4,
        "definitions": {"subgraphs": [subgraph]},
        "extra": {},
    }


def _subgraph(workflow: dict[str, Any]) -> dict[str, Any]:
    (end,) = (node["id"] for node in workflow["nodes"] if node["type"] == END)
    nodes = [node for node in workflow["nodes"] if node["type"] not in (END, "MarkdownNote")]
    links = [_link(link, end) for link in workflow["links"]]
    (last,) = (link for link in links if link["target_id"] == OUTPUT_NODE)
    return {
        "id": ID,
        "version": 1,
        "state": {
            "lastGroupId": 0,
            "lastNodeId": max(node["id"] for node in nodes),
            "lastLinkId": max(link["id"] for link in links),
            "lastRerouteId": 0,
        },
        "revision": 0,
        "config": {},
        "name": NAME,
        "category": CATEGORY,
        "description": DESCRIPTION,
        **_ends(nodes, last),
        "inputs": [],
        "widgets": [],
        "nodes": nodes,
        "groups": [],
        "links": links,
        "extra": {},
    }


def _ends(nodes: list[dict[str, Any]], last: dict[str, Any]) -> dict[str, Any]:
    """Return the ends of the subgraph, to the left and to the right of its nodes."""
    left = min(node["pos"][0] for node in nodes)
    right = max(node["pos"][0] + node["size"][0] for node in nodes)
    top = min(node["pos"][1] for node in nodes)
    video = {
        "id": str(uuid.uuid5(uuid.UUID(ID), "video")),
        "name": "video",
        "type": last["type"],
        "linkIds": [last["id"]],
        "pos": [right + 100, top + 20],
    }
    return {
        "inputNode": {"id": INPUT_NODE, "bounding": [left - 200, top, 120, 40]},
        "outputNode": {"id": OUTPUT_NODE, "bounding": [right + 80, top, 120, 60]},
        "outputs": [video],
    }


def _node(node_id: int, output: str) -> dict[str, Any]:
    """Return the node that stands for the subgraph."""
    return {
        "id": node_id,
        "type": ID,
        "pos": [0, 0],
        "size": [400, 360],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [],
        "outputs": [{"name": "video", "type": output, "links": []}],
        "properties": {"proxyWidgets": [[str(i), name] for i, names in SHOWN for name in names]},
        "widgets_values": [],
        "title": NAME,
    }


def _link(link: list[Any], end: int) -> dict[str, Any]:
    """Return a link in the form of subgraphs; that to the node `end` goes to the output."""
    link_id, origin, origin_slot, target, target_slot, kind = link
    return {
        "id": link_id,
        "origin_id": origin,
        "origin_slot": origin_slot,
        "target_id": OUTPUT_NODE if target == end else target,
        "target_slot": 0 if target == end else target_slot,
        "type": kind,
    }
