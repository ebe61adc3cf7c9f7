"""Runs commands of the command line in this process."""

from __future__ import annotations

import sys

from hummingbird_core.cli import main

PROMPT = "a red circle moves right"
CLI = [sys.executable, "-m", "hummingbird_core.cli"]


def run(capsys, *arguments) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    return code, out, err


def error_of(capsys, *arguments) -> str:
    """The one line on stderr of a command that must fail with exit code 2."""
    code, _, err = run(capsys, *arguments)
    lines = [line for line in err.splitlines() if line.startswith("hummingbird: error: ")]
    assert code == 2, err
    assert len(lines) == 1, err
    assert "Traceback" not in err
    return lines[0]
