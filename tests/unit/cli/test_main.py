"""The command line as a whole: help, versions and commands that do not exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time

import pytest
import torch
from support.command_line import CLI, PROMPT, error_of, run
from support.models import DEVICES
from support.paths import ROOT

from hummingbird_core.cli import COMMANDS
from hummingbird_core.errors import memory_advice


def fastest(command, attempts=3) -> float:
    times = []
    for _ in range(attempts):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return min(times)


def test_help_names_every_command(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert all(f"\n    {name} " in out for name in COMMANDS if " " not in name)


@pytest.mark.parametrize("group", ["train", "evaluate"])
def test_help_of_a_group_names_every_kind(capsys, group):
    code, out, _ = run(capsys, group, "--help")
    kinds = [name.partition(" ")[2] for name in COMMANDS if name.startswith(f"{group} ")]
    assert code == 0
    assert kinds
    assert all(re.search(rf"\n    {kind}\s", out) for kind in kinds)
    assert run(capsys, group)[:2] == (0, out)


def test_help_is_quick():
    start_of_python = fastest([sys.executable, "-c", "pass"])
    # 0.05 s on an idle machine; measured against Python's own start, since a busy one is slower.
    assert fastest([*CLI, "--help"]) < max(0.1, 6 * start_of_python)


def test_help_imports_nothing_heavy():
    code = (
        "import sys, hummingbird_core.cli as cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'diffusers', 'hummingbird_core.cli.generate'}\n"
        "sys.exit('heavy' if heavy & set(sys.modules) else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(capsys, command):
    code, out, _ = run(capsys, *command.split(), "--help")
    assert code == 0
    assert out.startswith(f"usage: hummingbird {command}")


@pytest.mark.parametrize("command", [name for name, (module, _) in COMMANDS.items() if module])
def test_help_teaches_with_examples(capsys, command):
    examples = run(capsys, *command.split(), "--help")[1].partition("\nexamples:\n")[2]
    assert re.search(rf"^ +(torchrun .*)?hummingbird\S* {command}", examples, re.MULTILINE)


@pytest.mark.parametrize("command", [name for name, (module, _) in COMMANDS.items() if module])
def test_help_shows_no_default_twice_and_no_empty_one(capsys, command):
    out = " ".join(run(capsys, *command.split(), "--help")[1].split())
    assert not re.search(r"\(default: (None|False|\[\])\)|\(default: [^)]*\) \(default:", out)


def test_help_shows_defaults(capsys):
    out = run(capsys, "generate", "--help")[1]
    assert all(f"(default: {value})" in " ".join(out.split()) for value in (16, 7.5, 0, "nano"))


def test_an_unknown_kind_is_refused(capsys):
    error = error_of(capsys, "evaluate", "other")
    assert re.search("'other' .choose from '?nano'?, '?vbench'?.; see hummingbird evaluate", error)


def test_a_broken_optional_package_stops_only_its_command(tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('broken')")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    for arguments in (["--help"], ["train", "--help"], ["download"], ["enhance", "a fox"]):
        subprocess.run([*CLI, *arguments], check=True, capture_output=True, env=environment)
    command = [*CLI, "evaluate", "nano"]
    assert subprocess.run(command, capture_output=True, check=False, env=environment).returncode


def test_an_unknown_option_names_its_command(capsys):
    assert "see hummingbird train nano --help" in error_of(capsys, "train", "nano", "--nope")


@pytest.mark.parametrize(
    ("option", "value"),
    [("--prompts", 0), ("--batch", 0), ("--frames", 1), ("--seeds", -1), ("--seeds", 1)],
)
def test_evaluation_of_nothing_is_refused(capsys, option, value):
    assert f"got {option} {value}, expected at least" in error_of(
        capsys, "evaluate", "nano", option, value
    )


def test_version(capsys):
    assert re.fullmatch(r"hummingbird \d+\.\d+\.\d+\n", run(capsys, "--version")[1])


@pytest.mark.parametrize("device", DEVICES)
def test_a_full_memory_is_told_from_other_errors(device):
    with pytest.raises(RuntimeError) as full:
        torch.empty(2**50, dtype=torch.uint8, device=device)
    assert "smaller" in memory_advice(full.value)
    assert "smaller" in memory_advice(torch.OutOfMemoryError("CUDA out of memory."))
    assert "7.11 PiB" in memory_advice(MemoryError("Unable to allocate 7.11 PiB for an array"))
    assert memory_advice(RuntimeError("shapes do not fit")) is None


def test_a_full_memory_is_one_line(capsys, tmp_path):
    size = ("--width", 16_384, "--height", 16_384, "--frames", 100_000)
    line = error_of(capsys, "generate", PROMPT, "-o", tmp_path / "v.mp4", *size)
    assert "the memory is full" in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [["generat", "x"], ["other"]])
def test_unknown_command(capsys, arguments):
    error = error_of(capsys, *arguments)
    assert re.search(rf"'{arguments[0]}' .choose from '?generate'?, .*; see hummingbird --h", error)
