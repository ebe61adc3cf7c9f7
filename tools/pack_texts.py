"""Copy the texts of nodes/*.py to the files that the front end reads.

    python3 tools/pack_texts.py http://127.0.0.1:8188     a running ComfyUI that has this pack

English texts are written in the nodes, those of other languages in locales/LANGUAGE/nodeDefs.json.
This writes locales/en/nodeDefs.json and the tables of inputs and outputs in all help pages of
web/docs. Translations and the text above the tables are written by hand; the tests find missing and
left-over ones. Standard library only.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCALES = ROOT / "locales"
ENGLISH = LOCALES / "en" / "nodeDefs.json"
HELP = ROOT / "web" / "docs"
PREFIX = "Hummingbird"
# From the first of these headings on, a help page is written by this file.
HEADINGS = {
    "en": ("Inputs", "Outputs", "None."),
    "ru": ("Входы", "Выходы", "Нет."),
    "zh": ("输入", "输出", "无。"),
    "ja": ("入力", "出力", "なし。"),
}

Texts = dict[str, dict[str, Any]]  # node id -> names, description and tooltips


def main() -> int:
    """Write the texts of the nodes of a running ComfyUI."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("server", help="its address, such as http://127.0.0.1:8188")
    with urllib.request.urlopen(f"{parser.parse_args().server}/object_info") as reply:
        texts = english_texts(json.load(reply))
    ENGLISH.write_text(as_json(texts), encoding="utf-8")
    for language in HEADINGS:
        _write_tables(language)
    return 0


def _write_tables(language: str) -> None:
    texts = json.loads((LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8"))
    for node, text in texts.items():
        page = help_page(node, language)
        current = with_tables(page.read_text(encoding="utf-8"), text, language)
        page.write_text(current, encoding="utf-8")


def help_page(node: str, language: str) -> Path:
    """Return the path where ComfyUI looks for a help page; English is the fallback."""
    return HELP / (f"{node}.md" if language == "en" else f"{node}/{language}.md")


def english_texts(object_info: dict[str, Any]) -> Texts:
    """Return the texts of our nodes in the format of ComfyUI's nodeDefs.json."""
    return {name: _texts(object_info[name]) for name in sorted(object_info) if _is_ours(name)}


def as_json(texts: Texts) -> str:
    """Return texts as the content of a nodeDefs.json."""
    return json.dumps(texts, indent=2, ensure_ascii=False) + "\n"


def with_tables(page: str, text: dict[str, Any], language: str = "en") -> str:
    """Return a help page with its tables of inputs and outputs rewritten from `text`."""
    inputs, outputs, none = HEADINGS[language]
    prose = page.partition(f"\n## {inputs}\n")[0].rstrip("\n")
    sections = ((inputs, text["inputs"]), (outputs, text["outputs"]))
    tables = [f"\n## {heading}\n\n{_table(entries) or none}" for heading, entries in sections]
    return "\n".join((prose, *tables)) + "\n"


def _is_ours(name: str) -> bool:
    return name.startswith(PREFIX)


def _texts(node: dict[str, Any]) -> dict[str, Any]:
    inputs = {**node["input"].get("required", {}), **node["input"].get("optional", {})}
    outputs = zip(node["output"], node["output_name"], node["output_tooltips"], strict=True)
    return {
        "display_name": node["display_name"],
        "description": node["description"],
        "inputs": {
            name: {"name": options.get("display_name", name), "tooltip": options["tooltip"]}
            for name, (_, options) in inputs.items()
        },
        "outputs": {
            str(index): {"name": name, "tooltip": tooltip}
            for index, (_, name, tooltip) in enumerate(outputs)
        },
    }


def _table(entries: dict[str, dict[str, str]]) -> str:
    if not entries:
        return ""
    rows = [f"| {entry['name']} | {entry['tooltip']} |" for entry in entries.values()]
    return "\n".join(("| | |", "|---|---|", *rows))


if __name__ == "__main__":
    sys.exit(main())
