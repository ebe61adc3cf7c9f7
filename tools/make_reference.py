"""Write docs/reference: command line, Python API and nodes.

    .venv/bin/python tools/make_reference.py

Run it after changing an option, a public docstring or a node; a test compares the files. The text
is taken from the argparse parsers, the docstrings and locales/en/nodeDefs.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import inspect
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_origin

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

FOLDER = ROOT / "docs" / "reference"
MADE = "<!-- Made by tools/make_reference.py: change the sources, then run it. -->\n"
PUBLIC_MODULES = (
    *("pipeline", "unet", "scheduler", "sampling", "vae", "checkpoints", "lora", "video", "vqa"),
    *("prompts", "curation", "offload", "settings", "training", "errors"),
)


def main() -> int:
    """Write all pages."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    return 0


def pages() -> dict[str, str]:
    """Return the text of every page by its file name."""
    return {"command-line.md": command_line(), "python.md": python_api(), "nodes.md": nodes()}


# --- command line --------------------------------------------------------------------------------


def command_line() -> str:
    """Return the page of all commands with their options."""
    from hummingbird_core.cli import COMMANDS, create_parser

    parser = create_parser()
    sections = [
        _command(_subparser(parser, command), command, summary, module)
        for command, (module, summary) in COMMANDS.items()
    ]
    return "\n".join([f"# Command line\n\n{MADE}", *sections])


def _subparser(parser: argparse.ArgumentParser, command: str) -> Any:
    for word in command.split():
        groups = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
        parser = groups[0].choices[word]
    return parser


def _command(parser: Any, name: str, summary: str, module: str | None) -> str:
    if module:
        importlib.import_module(f"hummingbird_core.cli.{module}").add_arguments(parser)
    rows = [_option(action) for action in parser._actions if _is_documented(action)]
    table = ["| argument | meaning | default |", "|---|---|---|", *rows] if rows else []
    examples = ["", "```text", parser.epilog.strip(), "```"] if module and parser.epilog else []
    sentence = f"{summary[0].upper()}{summary[1:]}."
    text = [f"## hummingbird {name}", "", sentence, "", *table, *examples]
    return "\n".join(text).rstrip() + "\n"


def _is_documented(action: argparse.Action) -> bool:
    hidden = action.help == argparse.SUPPRESS
    return not hidden and not isinstance(action, (argparse._HelpAction, argparse._SubParsersAction))


def _option(action: argparse.Action) -> str:
    names = ", ".join(action.option_strings)
    value = "" if action.nargs == 0 else _metavar(action)
    default = action.default
    is_unset = default is None or default is False or default in ([], argparse.SUPPRESS)
    shown = "" if is_unset else f"`{default}`"
    help_text = " ".join((action.help or "").replace("%%", "%").split())
    return _row(f"`{f'{names} {value}'.strip()}`", help_text, shown)


def _metavar(action: argparse.Action) -> str:
    if action.metavar:
        return " ".join(action.metavar) if isinstance(action.metavar, tuple) else action.metavar
    if action.choices:
        return "{" + ",".join(map(str, action.choices)) + "}"
    return action.dest.upper() if action.option_strings else action.dest


# --- Python --------------------------------------------------------------------------------------


def python_api() -> str:
    """Return the page of the public modules."""
    sections = [_module(f"hummingbird_core.{name}") for name in PUBLIC_MODULES]
    return "\n".join([f"# Python API\n\n{MADE}", *sections])


def _module(name: str) -> str:
    module = importlib.import_module(name)
    entries = [_entry(module, public) for public in _public_names(module)]
    return "\n".join([f"## {name}", "", _paragraph(module), "", *entries])


def _public_names(module: ModuleType) -> Iterator[str]:
    """Yield `__all__`, or the public classes and functions that the module defines."""
    if hasattr(module, "__all__"):
        yield from sorted(module.__all__)
        return
    for name, value in sorted(vars(module).items()):
        is_public = _is_code(value) and not name.startswith("_")
        if is_public and value.__module__ == module.__name__:
            yield name


def _is_code(value: Any) -> bool:
    """Return whether `value` is a class or function, not an alias such as `list[int]`."""
    return get_origin(value) is None and (inspect.isclass(value) or inspect.isfunction(value))


def _entry(module: ModuleType, name: str) -> str:
    value = getattr(module, name)
    if not _is_code(value):
        is_number = isinstance(value, (int, float))
        return f"### {name}\n" + (f"\n`{name} = {value}`\n" if is_number else "")
    heading = f"### {name}\n\n```python\n{_signature(name, value)}\n```\n"
    doc = inspect.cleandoc(value.__doc__ or "")
    if dataclasses.is_dataclass(value) and doc.startswith(f"{name}("):
        doc = ""  # made by dataclass, the same as the signature
    blocks = [heading, f"{_markdown(doc)}\n" if doc else ""]
    if inspect.isclass(value):
        blocks += [_method(value, method) for method in _methods(value)]
    return "\n".join(block for block in blocks if block)


def _methods(cls: type) -> list[str]:
    ours = (base for base in cls.__mro__ if base.__module__.startswith("hummingbird_core."))
    own = {name for base in ours for name, value in vars(base).items() if _is_method(value)}
    return sorted(name for name in own if not name.startswith("_") or name == "__call__")


def _is_method(value: Any) -> bool:
    return inspect.isfunction(value) or isinstance(value, (classmethod, staticmethod, property))


def _method(cls: type, name: str) -> str:
    value = inspect.getattr_static(cls, name)
    value = getattr(value, "__func__", None) or getattr(value, "fget", None) or value
    return f"- `{cls.__name__}.{name}`: {_paragraph(value)}\n"


def _signature(name: str, value: Any) -> str:
    """Return name and parameters; the name alone for a class that inherits them from a library."""
    own = inspect.getattr_static(value, "__init__", None) if inspect.isclass(value) else value
    if inspect.isclass(value) and hasattr(value, "_fields"):  # a NamedTuple
        return f"{name}({', '.join(value._fields)})"
    # Signatures of other libraries' classes differ between their versions.
    if not getattr(own, "__module__", "").startswith("hummingbird_core"):
        return name
    signature = str(inspect.signature(value))
    signature = re.sub(r"<(\w+)[^<>]*?(?: at 0x[0-9a-f]+)?>", r"<\1>", signature)
    return f"{name}{signature}".replace("'", "")


def _markdown(doc: str) -> str:
    """Return a docstring with its Google sections as lists."""
    text = re.sub(r"^(Args|Returns|Raises|Attributes|Yields):$", r"**\1**\n", doc, flags=re.M)
    text = re.sub(r"^ {4}(?=\S)(\*{0,2}\w+): ", r"- `\1`: ", text, flags=re.M)
    return re.sub(r"^ {8}(?=\S)", "  ", text, flags=re.M)


def _paragraph(value: Any) -> str:
    doc = inspect.cleandoc(value.__doc__ or "")
    return " ".join(doc.partition("\n\n")[0].split())


# --- nodes ---------------------------------------------------------------------------------------


def nodes() -> str:
    """Return the page of the ComfyUI nodes."""
    texts = json.loads((ROOT / "locales/en/nodeDefs.json").read_text(encoding="utf-8"))
    return "\n".join([f"# ComfyUI nodes\n\n{MADE}", *(_node(*item) for item in texts.items())])


def _node(name: str, text: dict[str, Any]) -> str:
    description = text["description"].replace("\n", "\n\n")
    lines = [f"## {text['display_name']}", "", f"`{name}`: {description}", ""]
    for kind in ("inputs", "outputs"):
        entries = text[kind].values()
        if entries:
            lines += [f"| {kind} | |", "|---|---|"]
            lines += [_row(f"`{entry['name']}`", entry["tooltip"]) for entry in entries]
            lines.append("")
    return "\n".join(lines)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    sys.exit(main())
