"""Bring what nodes/*.py say about themselves to the places where the front end reads it.

    python3 tools/pack_texts.py http://127.0.0.1:8188     a running ComfyUI that has this pack

The nodes are the one place for English texts. This writes locales/en/nodeDefs.json and the tables
of inputs and outputs in web/docs; the text above the tables and the other languages are written
by hand, and the tests find what is missing or left over in them. Standard library only.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ENGLISH = ROOT / "locales" / "en" / "nodeDefs.json"
HELP = ROOT / "web" / "docs"
PREFIX = "Hummingbird"
TABLES = "\n## Inputs\n"  # from here on a help page is written by this file

Texts = dict[str, dict[str, Any]]  # node id -> names, description and tooltips


def main() -> int:
    """Write the texts of the nodes of a running ComfyUI."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("server", help="its address, such as http://127.0.0.1:8188")
    with urllib.request.urlopen(f"{parser.parse_args().server}/object_info") as reply:
        texts = english_texts(json.load(reply))
    ENGLISH.write_text(as_json(texts), encoding="utf-8")
    for node, text in texts.items():
        page = HELP / f"{node}.md"
        page.write_text(with_tables(page.read_text(encoding="utf-8"), text), encoding="utf-8")
    return 0


def english_texts(object_info: dict[str, Any]) -> Texts:
    """The texts of our nodes, in the form of ComfyUI's nodeDefs.json."""
    return {name: _texts(object_info[name]) for name in sorted(object_info) if _is_ours(name)}


def as_json(texts: Texts) -> str:
    """The text of a nodeDefs.json."""
    return json.dumps(texts, indent=2, ensure_ascii=False) + "\n"


def with_tables(page: str, text: dict[str, Any]) -> str:
    """A help page with the tables of what `text` says of inputs and outputs."""
    return page.partition(TABLES)[0].rstrip("\n") + "\n" + _tables(text)


def _is_ours(name: str) -> bool:
    return name.startswith(PREFIX)


def _texts(node: dict[str, Any]) -> dict[str, Any]:
    inputs = {**node["input"].get("required", {}), **node["input"].get("optional", {})}
    outputs = zip(node["output"], node["output_name"], node["output_tooltips"], strict=True)
    return {
        "display_name": node["display_name"],
        "description": node["description"],
        "inputs": {
            name: {"name": name, "tooltip": options["tooltip"]}
            for name, (_, options) in inputs.items()
        },
        "outputs": {
            str(index): {"name": name, "tooltip": tooltip}
            for index, (_, name, tooltip) in enumerate(outputs)
        },
    }


def _tables(text: dict[str, Any]) -> str:
    inputs, outputs = (
        "".join(f"| {entry['name']} | {entry['tooltip']} |\n" for entry in text[kind].values())
        for kind in ("inputs", "outputs")
    )
    head = "| | |\n|---|---|\n"
    return (
        f"{TABLES}\n{head}{inputs}" if inputs else f"{TABLES}\nNone.\n"
    ) + f"\n## Outputs\n\n{head}{outputs}"


if __name__ == "__main__":
    sys.exit(main())
