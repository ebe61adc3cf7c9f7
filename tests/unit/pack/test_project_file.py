"""The project file: the only place of the version, and a package that holds all its files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from support.paths import ROOT

import hummingbird_core

CORE = ROOT / "hummingbird_core"
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")  # Python 3.10 has no tomllib


def test_a_clone_has_the_version_of_its_project_file():
    assert _quoted("version", PROJECT) == [hummingbird_core.__version__]


def test_no_other_file_repeats_the_version():
    for file in (CORE / "__init__.py", ROOT / "CITATION.cff"):
        assert hummingbird_core.__version__ not in file.read_text(encoding="utf-8"), file


def test_an_installed_package_has_the_version_that_pip_recorded(tmp_path):
    _copy_root_module(tmp_path)
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "other"\nversion = "7.7.7"\n')
    metadata = tmp_path / "hummingbird_video-9.8.7.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: hummingbird-video\nVersion: 9.8.7\n")
    assert _version_in(tmp_path) == "9.8.7"


def test_a_folder_copied_without_its_project_file_has_no_version(tmp_path):
    _copy_root_module(tmp_path)
    assert _version_in(tmp_path) == "unknown"


def _copy_root_module(folder: Path) -> None:
    package = folder / "hummingbird_core"
    package.mkdir()
    shutil.copy(CORE / "__init__.py", package)


def _version_in(folder: Path) -> str:
    """Return the version that a new process without site-packages sees."""
    code = "import hummingbird_core; print(hummingbird_core.__version__)"
    command = [sys.executable, "-S", "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


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
