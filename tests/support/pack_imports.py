"""Packages that the ComfyUI nodes import, read from the source code."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from support.paths import ROOT

OUR_PACKAGES = {"nodes", "hummingbird_core"}


def imported_packages() -> dict[str, set[str]]:
    """Return every third-party package with the files that import it.

    Follows imports from the nodes through the core, those inside functions included: the result
    holds at least what a node can reach. Imports for types only don't count.
    """
    pending, seen = [ROOT / "__init__.py", *(ROOT / "nodes").rglob("*.py")], set()
    packages: dict[str, set[str]] = {}
    while pending:
        file = pending.pop()
        if file in seen:
            continue
        seen.add(file)
        for name in _imports(file):
            if name[0] in OUR_PACKAGES:
                pending += _files(name)
            elif name[0] not in sys.stdlib_module_names:
                packages.setdefault(name[0], set()).add(file.relative_to(ROOT).as_posix())
    return packages


def _imports(file: Path) -> Iterator[list[str]]:
    """Dotted names, split; for our own packages each with the name imported from them."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for_types = {id(inner) for block in _type_blocks(tree) for inner in ast.walk(block)}
    folder = list(file.relative_to(ROOT).parts[:-1])
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = folder[: len(folder) - node.level + 1] if node.level else []
            module = [*package, *(node.module.split(".") if node.module else [])]
            yield from ([*module, alias.name] for alias in node.names)


def _type_blocks(tree: ast.Module) -> list[ast.If]:
    tests = (node for node in ast.walk(tree) if isinstance(node, ast.If))
    return [node for node in tests if ast.unparse(node.test) == "TYPE_CHECKING"]


def _files(name: list[str]) -> list[Path]:
    """Files that importing a dotted name runs: those of its packages and its own."""
    places = [ROOT.joinpath(*name[: end + 1]) for end in range(len(name))]
    files = [file for place in places for file in (place / "__init__.py", place.with_suffix(".py"))]
    return [file for file in files if file.is_file()]
