"""The rooms of `hummingbird_core`: what stands where, and which way imports go.

Every import counts, those for types and those inside of functions too.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from support.paths import ROOT

CORE = ROOT / "hummingbird_core"
MAX_ROOT_FILES = 12
# From the ground up, as docs/architecture.md draws it. A room imports from lower floors only.
FLOORS = (
    {"errors"},
    {"terminal", "files", "inputs", "devices", "reporting", "seeds"},
    {"cpu", "sampling", "engines"},
    {"settings", "unet", "weights", "hub", "video", "scheduler"},
    {"vae", "text"},
    {"checkpoints", "runtime"},
    {"lora", "vqa", "doctor"},
    {"pipeline", "prompts"},
    {"offload", "nano", "export"},
    {"agreement"},
    {"curation"},
    {"generation"},
    {"training", "evaluation"},
    {"bench"},
    {"cli"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# Where the built-in model may be asked for by its name: presets, data files, look-up, command line.
MAY_NAME_NANO = {"cli", "nano", "hub", "unet/config.py", "training/nano", "bench/models.py"}


def module_name(path: Path) -> str:
    """`sampling.ddim` for sampling/ddim.py, "" for the package itself."""
    parts = path.relative_to(CORE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(CORE.rglob("*.py"))}


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Modules of the core that a file imports, each with the name taken from it."""
    package = ["hummingbird_core", *path.relative_to(CORE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom):
            continue
        base = package[: len(package) - node.level + 1] if node.level else []
        full = [*base, *(node.module.split(".") if node.module else [])]
        if full[0] != "hummingbird_core":
            continue
        for alias in node.names:
            inner = ".".join([*full[1:], alias.name])
            yield (inner, "") if inner in MODULES else (".".join(full[1:]), alias.name)


def room(module: str) -> str:
    return module.partition(".")[0]


def test_every_room_has_a_floor():
    assert {room(module) for module in MODULES if module} == set(FLOOR)


def test_the_root_holds_few_files():
    files = [path.name for path in CORE.glob("*.py")]
    assert len(files) <= MAX_ROOT_FILES, sorted(files)


@pytest.mark.parametrize("name", [name for name in MODULES if name])
def test_imports_go_down(name):
    above = {
        target
        for target, _ in imports(MODULES[name])
        if target and room(target) != room(name) and FLOOR[room(target)] >= FLOOR[room(name)]
    }
    assert not above


@pytest.mark.parametrize("level", ["files", "folders"])
def test_nothing_imports_in_a_circle(level):
    def node(module: str) -> str:
        path = MODULES[module]
        is_alone = level == "files" or path.parent == CORE
        return module if is_alone else path.parent.relative_to(CORE).as_posix()

    graph: defaultdict[str, set[str]] = defaultdict(set)
    for name, path in MODULES.items():
        graph[node(name)] |= {node(t) for t, _ in imports(path) if t and node(t) != node(name)}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("folder", ["hummingbird_core/cli", "nodes"])
def test_doors_use_public_names_only(folder):
    private = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for match in re.finditer(
            r"^ *from \.+(?!\w*$)[\w.]+ import [^\n(]*(?<!\w)_(?!_version__)\w+",
            path.read_text(encoding="utf-8"),
            re.MULTILINE,
        )
    ]
    assert not private


def test_the_core_never_imports_comfy():
    texts = {name: path.read_text(encoding="utf-8") for name, path in MODULES.items()}
    assert not [name for name, text in texts.items() if re.search("(import|from) comfy", text)]


def test_output_goes_through_the_door_to_the_terminal():
    """Names of files and answers of servers may hold escape sequences."""
    texts = {name: path.read_text(encoding="utf-8") for name, path in MODULES.items()}
    other = re.compile(r"(?<![\w.])print\(|sys\.(stdout|stderr)|logging\.getLogger|bar\.write\(")
    assert [name for name, text in texts.items() if other.search(text)] == ["terminal"]


def test_behaviour_hangs_on_traits_not_on_names():
    """No code compares with, or looks for, the name of a preset outside of presets and look-ups."""
    name = r"""(["'](nano|videocrafter2)["']|NANO\b)"""
    asked = r"(?<!for )\bpreset (==|in (?!CATALOG\b))"
    pattern = rf"{name} (not in|in|==|!=) |(==|!=|\bin) {name}|{asked}"
    found = [
        path.relative_to(CORE).as_posix()
        for path in MODULES.values()
        if re.search(pattern, path.read_text(encoding="utf-8"))
    ]
    allowed = tuple(sorted(MAY_NAME_NANO))
    assert [name for name in found if not name.startswith(allowed)] == []
