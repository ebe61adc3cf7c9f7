"""A student that is trained on what it makes itself."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from support.tiny_training import OWN, STUDENT, TEACHER, tiny_models

from hummingbird_core.sampling import sample_lcm
from hummingbird_core.training.data.batch import batch_of
from hummingbird_core.training.data.nano_clips import NanoClips
from hummingbird_core.training.distillation.losses import OutputKD
from hummingbird_core.training.distillation.on_policy import rollout
from hummingbird_core.training.distillation.predictions import Conditions, Models, student_eps
from hummingbird_core.training.distillation.step import Step, draw_step
from hummingbird_core.training.loop.micro_batch import MicroBatch

TIMESTEPS = [999, 759, 519, 279]
MICRO_BATCH = MicroBatch(seed=0, step=0, size=4)


def models() -> Models:
    """A student with dropout, which must not be seen in its samples, and one that heeds its w."""
    models = tiny_models(student=replace(STUDENT, dropout=0.5), teacher=TEACHER)
    torch.nn.init.normal_(models.student.time_cond_proj.weight)
    models.student.train()
    return models


def a_step(models: Models) -> Step:
    return draw_step(MICRO_BATCH, batch_of(NanoClips(3), MICRO_BATCH), models, OWN)


def eps_of(models: Models, conditions: Conditions):
    return partial(student_eps, models.student, conditions=conditions)


@pytest.mark.parametrize("taken", range(4))
@torch.no_grad()
def test_a_sample_is_what_the_sampler_has_after_so_many_steps(taken):
    tiny = models()
    conditions = a_step(tiny).conditions
    noises = torch.randn(4, 4, 4, 3, 8, 8)
    u = torch.full((4,), (taken + 0.5) / 4)
    sample, t = rollout(tiny.student, eps_of(tiny, conditions), noises, u)
    assert t.tolist() == [TIMESTEPS[taken]] * 4
    assert tiny.student.training
    tiny.student.eval()
    seen = {}

    def predict_noise(sample, t):
        seen[t] = sample
        return student_eps(tiny.student, sample, torch.full((4,), t), conditions)

    start, *steps = noises.unbind(1)
    sample_lcm(predict_noise, start, steps, 4)
    torch.testing.assert_close(sample, seen[TIMESTEPS[taken]])


@torch.no_grad()
def test_clips_are_drawn_anywhere_on_the_way_and_stay_where_they_are():
    tiny = models()
    conditions = a_step(tiny).conditions
    noises, u = torch.randn(4, 4, 4, 3, 8, 8), torch.tensor([0.1, 0.3, 0.6, 0.9])
    sample, t = rollout(tiny.student, eps_of(tiny, conditions), noises, u)
    assert t.tolist() == TIMESTEPS
    assert torch.equal(sample[0], noises[0, 0])
    last, _ = rollout(tiny.student, eps_of(tiny, conditions), noises, torch.full((4,), 0.9))
    torch.testing.assert_close(sample[3], last[3])
    drawn = torch.cat(
        [
            draw_step(p, batch_of(NanoClips(1), p), tiny, OWN).t
            for p in (MICRO_BATCH, replace(MICRO_BATCH, seed=1))
        ]
    )
    assert set(drawn.tolist()) <= set(TIMESTEPS)
    assert len(set(drawn.tolist())) > 1


def test_the_gradient_flows_through_the_last_call_alone():
    tiny, calls = models(), []
    tiny.student.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    step = a_step(tiny)
    assert calls == [False] * 3
    assert not step.sample.requires_grad
    OutputKD(weighting="x0")(step).backward()
    assert calls == [False] * 3 + [True]
    assert tiny.student.input_blocks[0][0].weight.grad.abs().sum() > 0


def test_bf16_gives_the_student_its_gradients():
    """autocast keeps casts of weights: those of the way to the sample are without gradient."""
    tiny = models()
    with torch.autocast("cpu", torch.bfloat16):
        loss = OutputKD()(a_step(tiny))
    loss.backward()
    assert tiny.student.input_blocks[0][0].weight.grad.abs().sum() > 0
