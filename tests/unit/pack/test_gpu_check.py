"""tools/gpu_check.py: what it reports of checks that pass, fail, hang or have no device."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from gpu_check import summarize
from support.paths import ROOT


def gpu_check(folder, device: str, *only: str) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "tools" / "gpu_check.py", "--device", device, "-o", folder]
    command += ["--only", *only]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


def test_a_check_runs_on_the_cpu_and_a_wrong_one_fails(tmp_path):
    done = gpu_check(tmp_path, "cpu", "lora", "no such check")
    assert done.returncode == 1, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["device"] == "CPU, small"
    found = {result["check"]: (result["status"], result["reason"]) for result in report["checks"]}
    assert found["lora"] == ("passed", "")
    assert found["no such check"] == ("failed", "KeyError: 'no such check'")
    assert "| lora | passed |" in (tmp_path / "report.md").read_text()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_one_line(tmp_path):
    done = gpu_check(tmp_path, "cuda", "lora")
    assert done.returncode == 1
    assert "got device 'cuda', expected an available one" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_check_that_was_stopped_counts_as_failed(tmp_path, capsys):
    checks = [{"check": "a", "status": "passed"}, {"check": "b", "status": "running"}]
    facts = {"device": "X", "command": "c", "torch": "2", "python": "3", "machine": "m"}
    (tmp_path / "report.json").write_text(json.dumps({**facts, "checks": checks}))
    assert summarize(tmp_path, "stopped after 5 s") == 1
    assert "| b | failed |  | stopped after 5 s |" in capsys.readouterr().out
