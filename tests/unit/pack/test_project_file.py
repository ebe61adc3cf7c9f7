"""The project file: one version everywhere, and a package that holds all its files."""

from __future__ import annotations

import re

from support.paths import ROOT

import hummingbird_core

CORE = ROOT / "hummingbird_core"
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")  # Python 3.10 has no tomllib


def test_the_version_is_the_same_everywhere():
    # Two places, as neither can read the other: a ComfyUI pack is not installed by pip and so has
    # no metadata, and the Comfy Registry reads a static version from pyproject.toml.
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert _quoted("version", PROJECT) == [hummingbird_core.__version__]
    assert _quoted("version", citation.replace("version: ", "version = ")) == [
        hummingbird_core.__version__
    ]


def test_an_installed_package_holds_all_data_files():
    block = re.search(r"^hummingbird_core = \[(.*?)\]", PROJECT, re.MULTILINE | re.DOTALL)
    assert block
    patterns = re.findall(r'"([^"]+)"', block[1])
    packaged = {pattern: {p for p in CORE.glob(pattern) if p.is_file()} for pattern in patterns}
    assert all(packaged.values()), "a pattern that matches nothing"
    files = {p for p in CORE.rglob("*") if p.is_file() and p.suffix not in {".py", ".pyc"}}
    assert files == set().union(*packaged.values())


def _quoted(key: str, text: str) -> list[str]:
    return re.findall(rf'^{key} = "([^"]+)"', text, re.MULTILINE)
