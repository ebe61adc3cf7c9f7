"""The tool that makes environments: what it refuses before it installs anything."""

from __future__ import annotations

import re

import pytest
import setup_env
from support.paths import ROOT


def test_a_small_environment_needs_a_folder_of_its_own():
    for target, extras in ((ROOT / ".venv", set()), (ROOT / "small", {"dev"})):
        with pytest.raises(setup_env.SetupError, match="give --target, and no --extra"):
            setup_env.make_runtime(target, "onnx", extras)


def test_a_folder_of_other_files_is_never_replaced(tmp_path):
    (tmp_path / "photo.png").write_bytes(b"mine")
    with pytest.raises(setup_env.SetupError, match="was not made by this tool"):
        setup_env.make_runtime(tmp_path, "onnx", set())
    assert (tmp_path / "photo.png").read_bytes() == b"mine"


@pytest.mark.parametrize("runtime", setup_env.RUNTIMES)
def test_a_small_environment_has_the_lower_bounds_of_the_package_and_no_torch(runtime):
    text = (ROOT / f"requirements-{runtime}.txt").read_text(encoding="utf-8")
    required = set(re.findall(r"^[\w-]+>=[\d.]+$", text, re.MULTILINE))
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert required
    assert required <= set(re.findall(r'"([\w-]+>=[\d.]+)"', project))
    assert not [line for line in required if line.startswith("torch")]
