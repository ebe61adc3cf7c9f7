"""State files that no run wrote: one line that says so, and nothing of them is run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from hummingbird_core.errors import CheckpointError
from hummingbird_core.training.loop.config import TrainConfig
from hummingbird_core.training.loop.state import completed_steps
from hummingbird_core.training.loop.trainer import train


class RunsCode:
    def __reduce__(self):
        return Path.write_text, (Path("ran"), "code")


def fit(folder: Path, steps: int) -> nn.Linear:
    torch.manual_seed(0)
    model = nn.Linear(2, 1)

    def loss(_micro_batch) -> dict[str, torch.Tensor]:
        return {"error": model(torch.ones(2)).square().mean()}

    settings = TrainConfig(steps=steps, learning_rate=0.1, batch=1, ema_decay=0.9)
    return train("fit", model, loss, settings, folder)


BAD_STATES = {
    "a list": [1],
    "no model": {"step": 1},
    "a negative step": {"step": -1},
    "a step that is true": {"step": True},
    "weights that are no tensors": {"model": {"weight": 1}},
    "an optimizer of another form": {"optimizer": {"state": [], "param_groups": 1}},
    "phases of another form": {"phases": [1]},
    "code": {"more": RunsCode()},
    "repeated numbers": {"more": [torch.ones(1).expand(1 << 40)]},
}


@pytest.mark.parametrize("name", BAD_STATES)
def test_a_state_of_another_form_is_damaged(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    fit(tmp_path, steps=1)
    file, change = tmp_path / "fit.state.pt", BAD_STATES[name]
    state = torch.load(file, weights_only=True)
    torch.save({**state, **change} if isinstance(change, dict) else change, file)
    if name == "no model":
        torch.save(change, file)
    with pytest.raises(CheckpointError, match="which is damaged, expected the state of a run"):
        fit(tmp_path, steps=2)
    assert not (tmp_path / "ran").exists()
    if "step" in name:
        with pytest.raises(CheckpointError, match="damaged"):
            completed_steps(file)


def test_a_state_is_read_as_torch_reads_it(tmp_path):
    whole = fit(tmp_path / "whole", steps=4)
    fit(tmp_path / "parts", steps=2)
    resumed = fit(tmp_path / "parts", steps=4)
    assert torch.equal(whole.weight, resumed.weight)
    assert completed_steps(tmp_path / "parts" / "fit.state.pt") == 4
    assert completed_steps(tmp_path / "absent.pt") == 0
