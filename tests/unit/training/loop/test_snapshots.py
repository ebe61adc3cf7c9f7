"""Usable weights of a run: after each saved state, of the best validation, after Ctrl-C."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from hummingbird_core.training.loop.config import TrainConfig
from hummingbird_core.training.loop.progress import ValidationResult
from hummingbird_core.training.loop.snapshots import Snapshots
from hummingbird_core.training.loop.trainer import train


def snapshots(folder: Path, keep_last: int = 1, keep_best: bool = True) -> Snapshots:
    def write(weights: dict[str, torch.Tensor], path: Path, step: int) -> None:
        assert path.stem.endswith(f"{step:06d}")
        save_file({name: value.contiguous() for name, value in weights.items()}, path)

    return Snapshots(folder / "checkpoints", write, keep_last, keep_best)


def fit(folder: Path, validate=None, interrupt_at: int = -1, keep_last: int = 1, **changes):
    model = nn.Linear(4, 1, bias=False)
    nn.init.zeros_(model.weight)

    def loss(micro_batch):
        x = torch.stack([torch.randn(4, generator=g) for g in micro_batch.clip_generators()])
        if micro_batch.step == interrupt_at:
            signal.raise_signal(signal.SIGINT)
        return {"error": (model(x) - x.sum(1, keepdim=True)).square().mean()}

    values = {"steps": 7, "learning_rate": 0.05, "save_every": 2, "keep_last": keep_last}
    settings = TrainConfig(**{**values, **changes})
    return train(
        "fit", model, loss, settings, folder, validate, snapshots=snapshots(folder, keep_last)
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").glob("*"))


@pytest.mark.parametrize(("keep_last", "steps"), [(1, [6]), (2, [4, 6]), (9, [2, 4, 6])])
def test_the_last_ones_stay(tmp_path, keep_last, steps):
    fit(tmp_path, keep_last=keep_last)
    assert names(tmp_path) == [f"step-{step:06d}.safetensors" for step in steps]


def test_none_if_not_asked_for(tmp_path):
    fit(tmp_path, keep_last=0)
    assert not (tmp_path / "checkpoints").exists()


def test_they_hold_what_a_run_of_that_length_ends_with(tmp_path):
    """The averaged weights, if there are any."""
    for name, decay in (("plain", 0.0), ("average", 0.5)):
        fit(tmp_path / name, ema_decay=decay)
        got = load_file(tmp_path / name / "checkpoints" / "step-000006.safetensors")
        short = fit(tmp_path / f"{name} short", steps=6, ema_decay=decay)
        assert torch.equal(got["weight"], short.weight.detach())


def test_after_ctrl_c_the_weights_of_that_step_are_usable(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, interrupt_at=4, save_every=100)
    assert names(tmp_path) == ["step-000005.safetensors"]
    resumed = fit(tmp_path, save_every=100)
    assert torch.equal(resumed.weight, fit(tmp_path / "straight").weight)


def test_a_run_shorter_than_save_every_saves_its_state(tmp_path):
    fit(tmp_path, steps=3, save_every=100)
    assert torch.load(tmp_path / "fit.state.pt", weights_only=True)["step"] == 3


def test_the_best_stays_until_a_better_one(tmp_path):
    scores = {0: 0.1, 2: 0.3, 4: 0.2, 6: 0.3, 7: 0.1}
    seen: list[float] = []

    def validate(done: int) -> ValidationResult:
        seen.append(scores[done])
        return ValidationResult(is_best=scores[done] > max([*seen[:-1], 0.0]))

    fit(tmp_path, validate, keep_last=0, validate_every=2)
    assert names(tmp_path) == ["best-000002.safetensors"]
    kept = snapshots(tmp_path)
    assert kept.find(2) == tmp_path / "checkpoints" / "best-000002.safetensors"
    assert kept.find(4) is None
    best = load_file(kept.find(2))["weight"]
    assert torch.equal(best, fit(tmp_path / "short", steps=2).weight.detach())


def test_the_best_is_not_kept_if_not_asked_for(tmp_path):
    fit(
        tmp_path,
        lambda done: ValidationResult(is_best=True),
        keep_last=0,
        keep_best=False,
        validate_every=2,
    )
    assert not (tmp_path / "checkpoints").exists()


def test_files_of_others_are_left_alone(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    own = [tmp_path / "checkpoints" / name for name in ("step-mine.safetensors", "notes.txt")]
    for path in own:
        path.touch()
    fit(tmp_path)
    assert all(path.exists() for path in own)


def test_snapshots_change_no_loss(tmp_path):
    """A writer may build a model, which draws random numbers."""
    plain = fit(tmp_path / "plain", keep_last=0)
    assert torch.equal(fit(tmp_path / "kept").weight, plain.weight)
