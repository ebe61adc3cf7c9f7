"""Training in real processes: killed and resumed, several together, sharded."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from support.paths import ROOT

from hummingbird_core.training.loop.progress import read_losses

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the script forks its processes")

SCRIPT = ROOT / "tests" / "support" / "tiny_training.py"
STEPS = 4
KILLED_AT = random.randrange(1, STEPS)
LORA = {"lora": True, "own": True}  # as in stage 2: on the student's own samples
SINGLE_STEP_TOLERANCE = 1e-5  # relative; float sums in another order


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """All runs of this file: one interpreter, that forks a child for each process."""
    folder = tmp_path_factory.mktemp("runs")
    plan = [
        {"folder": "straight"},
        {"folder": "killed", "kill_at": KILLED_AT},
        {"folder": "killed"},
        {"folder": "lora", **LORA},
        {"folder": "killed-lora", **LORA, "kill_at": KILLED_AT},
        {"folder": "killed-lora", **LORA},
        {"folder": "critic", "critic": True},
        {"folder": "killed-critic", "critic": True, "kill_at": KILLED_AT},
        {"folder": "killed-critic", "critic": True},
    ]
    same = [
        {"folder": "one", "steps": 3},
        {"folder": "rounds", "steps": 3, "micro_batch": 1},
        {"folder": "four", "steps": 3, "processes": 4},
        {"folder": "two-rounds", "steps": 3, "micro_batch": 1, "processes": 2},
        # One clip at a time: the blocks' outputs are views.
        {"folder": "sharded", "steps": 2, "processes": 2, "micro_batch": 1, "sharding": "fsdp2"},
        {"folder": "sharded", "steps": 3},  # a state of two processes goes on in one
        {"folder": "sharded-on", "steps": 2},
        {"folder": "sharded-on", "steps": 3, "processes": 2, "sharding": "fsdp2"},
    ]
    plan += [{**run, "scale": 1e-4} for run in same]
    pair = {"steps": 2, "processes": 2}
    plan += [
        {"folder": "critic-two", "critic": True, "micro_batch": 1, **pair},
        {"folder": "critic-sharded", "critic": True, "sharding": "fsdp2", **pair},
    ]
    plan = [{**run, "folder": str(folder / run["folder"])} for run in plan]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(SCRIPT), json.dumps(plan)],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    error = done.stderr[max(done.stderr.find("Traceback"), 0) :]
    assert done.returncode == 0, f"{error[:6000]} ... {error[-1000:]}"
    assert "view tensor" not in done.stderr, error
    if "CRASHED" in done.stderr:
        warnings.warn(done.stderr[done.stderr.find("Fatal") :][:6000], stacklevel=2)
    return folder


def losses(folder: Path) -> list[float]:
    lines = read_losses(folder / "tiny.losses.jsonl")
    assert [line["step"] for line in lines] == list(range(len(lines)))
    return [line["loss"] for line in lines]


def state(folder: Path) -> dict:
    return torch.load(folder / "tiny.state.pt", weights_only=True)


def critic_weights(kept: dict) -> dict:
    return kept["phases"].get("critic", {"model": {}})["model"]


@pytest.mark.parametrize(
    ("undisturbed", "killed"),
    [
        ("straight", "killed"),
        ("lora", "killed-lora"),
        ("critic", "killed-critic"),
    ],
)
def test_a_killed_run_goes_on_as_if_it_had_not_been(runs, undisturbed, killed):
    """kill -9 in the middle of a random step; equal to the last bit, the average included."""
    assert len(losses(runs / undisturbed)) == STEPS
    assert losses(runs / killed) == losses(runs / undisturbed), f"killed in step {KILLED_AT}"
    expected, got = state(runs / undisturbed), state(runs / killed)
    for part in (lambda s: s["model"], lambda s: s["ema"], critic_weights):
        assert part(got).keys() == part(expected).keys()
        assert all(torch.equal(part(got)[key], value) for key, value in part(expected).items())


def test_a_loras_state_holds_the_lora_alone(runs):
    kept = state(runs / "lora")
    for part in ("model", "ema"):
        assert kept[part]
        assert all("lora_" in name for name in kept[part])
    assert any(value.any() for name, value in kept["model"].items() if "lora_B" in name)


@pytest.mark.parametrize("cut", ["critic-two", "critic-sharded"])
def test_a_critic_does_not_depend_on_who_computes_it(runs, cut):
    """DDP with two rounds, and FSDP2: the student's loss goes through the critic's shards."""
    got, expected = (read_losses(runs / name / "tiny.losses.jsonl") for name in (cut, "critic"))
    for line, other in zip(got, expected[:2], strict=True):
        assert line == pytest.approx({**other, "seconds": line["seconds"]}, rel=1e-4)


@pytest.mark.parametrize("cut", ["rounds", "four", "two-rounds", "sharded", "sharded-on"])
def test_losses_do_not_depend_on_who_computes_them(runs, cut):
    """Four processes, gradient accumulation, both, and FSDP2 make the losses of one process."""
    assert len(losses(runs / "one")) == 3
    expected = losses(runs / "one")
    assert losses(runs / cut) == pytest.approx(expected, rel=SINGLE_STEP_TOLERANCE)
    weights, others = state(runs / "one")["model"], state(runs / cut)["model"]
    # All weights together: where a gradient is nearly zero, Adam makes a step of its rounding.
    off = torch.stack([(others[name] - value).norm() for name, value in weights.items()]).norm()
    assert off < 1e-3 * torch.stack([value.norm() for value in weights.values()]).norm()


def test_training_changes_the_losses_at_all(runs):
    """Or the tests above would prove nothing."""
    assert len(set(losses(runs / "straight"))) == STEPS
