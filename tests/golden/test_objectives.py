"""The step of consistency distillation equals the original's (l_), from what its models said."""

from __future__ import annotations

import pytest
import torch
from support.models import golden, relative_l2, rnd
from torch import nn

from hummingbird_core.sampling import boundary_scalings
from hummingbird_core.training.distillation.losses import Consistency, pseudo_huber
from hummingbird_core.training.distillation.noise import NoiseConfig, draw_timesteps
from hummingbird_core.training.distillation.predictions import Conditions, Models
from hummingbird_core.training.distillation.step import Step
from hummingbird_core.training.loop.micro_batch import MicroBatch

TOLERANCE = 1e-5  # relative L2
SHAPE = (3, 4, 2, 4, 6)
EARLIER = "input:target"
GRID = NoiseConfig(timesteps="grid")


class Said(nn.Module):
    """Answers with stored noise: the golden files hold what was predicted, not the networks."""

    def __init__(self, *names: str):
        super().__init__()
        self.names = list(names)
        self.samples: list[torch.Tensor] = []

    def forward(self, sample, t, context, fps, timestep_cond=None):
        self.samples.append(sample)
        if len(sample) == 2 * SHAPE[0]:  # a guided teacher
            return torch.cat([rnd(name, SHAPE) for name in self.names])
        return rnd(self.names.pop(0), SHAPE)


@pytest.fixture
def step() -> Step:
    t = golden("l_train_lcd_step")["start_timesteps"]
    text = torch.zeros(3, 77, 8)
    student = Said("input:student", EARLIER)
    teacher = Said("input:teacher_cond", "input:teacher_uncond")
    return Step(
        MicroBatch(seed=0, step=0, size=3),
        Models(student, teacher, nn.Identity()),
        GRID,
        GRID.noisy(rnd("input:latents", SHAPE), rnd("input:noise", SHAPE), t),
        t,
        Conditions(text, text, torch.full((3,), 8.0), torch.tensor([5.0, 9.7, 15.0])),
        ["", "", ""],
    )


def test_one_step_of_consistency_distillation(step):
    expected = golden("l_train_lcd_step")
    value, target = step.consistency_pair
    assert relative_l2(step.sample, expected["noisy"]) <= TOLERANCE
    assert relative_l2(value, expected["model_pred"]) <= TOLERANCE
    assert relative_l2(step.models.student.samples[1], expected["x_prev"]) <= TOLERANCE
    assert relative_l2(target, expected["target"]) <= TOLERANCE
    assert relative_l2(Consistency(weight=3.0)(step) / 3, expected["huber"]) <= TOLERANCE


def test_the_grid_holds_the_originals_timesteps():
    u = (torch.tensor([0, 20, 49]) + 0.5) / 50
    drawn = draw_timesteps(u, GRID)
    assert drawn.tolist() == golden("l_train_lcd_step")["start_timesteps"].tolist()


def test_pseudo_huber():
    expected = golden("l_train_math")
    value, target = rnd("input:model_output", SHAPE), rnd("input:sample", SHAPE)
    for c in (0.001, 0.1):
        got = pseudo_huber(value, target, c)
        assert relative_l2(got, expected[f"huber_c{c}"]) <= TOLERANCE


def test_boundary_scalings():
    expected = golden("l_train_math")
    for got, name in zip(boundary_scalings(), ("c_skip", "c_out"), strict=True):
        at = got[[0, 1, 19, 499, 979, 999]]
        assert relative_l2(at, expected[name]) <= TOLERANCE
