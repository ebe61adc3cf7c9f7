"""The command line as a whole: help, versions and commands that do not exist."""

from __future__ import annotations

import re
import subprocess
import sys
import time

import pytest
from command_line import CLI, error_of, run

from hummingbird_core.cli import COMMANDS


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


def test_version(capsys):
    assert re.fullmatch(r"hummingbird \d+\.\d+\.\d+\n", run(capsys, "--version")[1])


@pytest.mark.parametrize("arguments", [["generat", "x"], ["evaluate", "other"]])
def test_unknown_command(capsys, arguments):
    assert "expected one of: generate" in error_of(capsys, *arguments)
