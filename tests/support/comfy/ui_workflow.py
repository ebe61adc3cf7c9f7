"""Workflows as the front end saves them, as graphs that the server takes."""

from __future__ import annotations

from typing import Any

from workflow_graphs import Graph

MUTED = 2  # a node's mode in the front end


def api_graph(workflow: dict[str, Any], object_info: dict[str, Any]) -> Graph:
    """Return what the front end sends for a saved workflow when Run is pressed."""
    links = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    # Notes are of the front end only; muted nodes are not sent.
    nodes = [n for n in workflow["nodes"] if n["type"] in object_info and n["mode"] != MUTED]
    return {
        str(node["id"]): {
            "class_type": node["type"],
            "inputs": _inputs(node, links, object_info[node["type"]]["input"]),
        }
        for node in nodes
    }


def _inputs(node: dict[str, Any], links: dict[int, list], specs: dict[str, Any]) -> dict[str, Any]:
    options = {name: spec[1:] for group in specs.values() for name, spec in group.items()}
    values = iter(node.get("widgets_values", []))
    inputs = {}
    for entry in node.get("inputs", []):
        name = entry["name"]
        if "widget" in entry:
            inputs[name] = next(values)
            if any(option.get("control_after_generate") for option in options[name]):
                next(values)  # whether the seed stays; not an input
        if entry["link"] is not None:
            inputs[name] = links[entry["link"]]
    return inputs
