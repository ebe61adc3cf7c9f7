"""The command line as a whole: help, versions and commands that do not exist."""

from __future__ import annotations

import re
import subprocess
import sys
import time

import pytest
import torch
from support.command_line import CLI, PROMPT, error_of, run
from support.models import DEVICES

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
    assert all(name in out for name in COMMANDS)


def test_help_is_quick():
    start_of_python = fastest([sys.executable, "-c", "pass"])
    # 0.3 s on an idle machine; measured against Python's own start, since a busy one is slower.
    assert fastest([*CLI, "--help"]) < max(0.3, 6 * start_of_python)


def test_help_imports_nothing_heavy():
    code = (
        "import sys, hummingbird_core.cli as cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit('heavy' if {'torch', 'numpy', 'diffusers'} & set(sys.modules) else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(capsys, command):
    code, out, _ = run(capsys, *command.split(), "--help")
    assert code == 0
    assert out.startswith(f"usage: hummingbird {command}")


@pytest.mark.parametrize("command", ["generate", "convert", "download", "info", "doctor"])
def test_help_teaches_with_examples(capsys, command):
    assert f"  hummingbird {command}" in run(capsys, command, "--help")[1]


def test_evaluate_lists_its_kinds(capsys):
    assert "hummingbird evaluate vbench" in run(capsys, "evaluate")[1]
    assert "hummingbird evaluate nano" in run(capsys, "evaluate", "--help")[1]
    assert "expected one of nano, vbench" in error_of(capsys, "evaluate", "other")


@pytest.mark.parametrize("option", ["--prompts", "--batch"])
def test_evaluation_of_nothing_is_refused(capsys, option):
    assert f"got {option} 0" in error_of(capsys, "evaluate", "nano", option, 0)


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
    size = ("--width", 8_000_000, "--height", 8_000_000)
    line = error_of(capsys, "generate", PROMPT, "-o", tmp_path / "v.mp4", *size)
    assert "the memory is full" in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [["generat", "x"], ["other"]])
def test_unknown_command(capsys, arguments):
    assert "expected one of: generate" in error_of(capsys, *arguments)
