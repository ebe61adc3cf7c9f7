"""The teacher's targets for noisy clips: guided or not, in range, at once or by a path."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.tiny_training import (
    GRID,
    OWN,
    STAGE_1,
    STUDENT,
    TEACHER,
    a_step,
    tiny_models,
)

from hummingbird_core.errors import InputError
from hummingbird_core.nano.latents import NANO_SCALING_FACTOR
from hummingbird_core.sampling import latent_scale, predict_x0, scale_latents
from hummingbird_core.sampling.ddim import ddim_step
from hummingbird_core.training.distillation.losses import OutputKD
from hummingbird_core.training.distillation.predictions import teacher_eps
from hummingbird_core.training.loop.micro_batch import MicroBatch
from hummingbird_core.training.pruning.block_map import map_to


def test_the_range_of_pictures_holds_the_guided_teacher():
    plain = a_step(settings=replace(GRID, guidance=(9.0, 9.0)))
    held = a_step(settings=replace(GRID, guidance=(9.0, 9.0), clip_denoised=True))
    free, x0 = (predict_x0(step.sample, step.teacher.eps, step.t) for step in (plain, held))
    assert free[:, :3].abs().max() > 1
    assert x0[:, :3].abs().max() < NANO_SCALING_FACTOR + 1e-3
    assert x0[:, 3].min() > -0.76 * NANO_SCALING_FACTOR


@pytest.mark.parametrize("end", ["start", "stop"])
def test_guidance_can_be_limited_to_an_interval(end):
    """At each clip's own timestep: one of the two is outside."""
    micro_batch = MicroBatch(seed=0, step=1, size=2)
    times = a_step(micro_batch=micro_batch).t
    limit = times.max()
    settings = replace(GRID, guidance=(9.0, 9.0), **{f"cfg_{end}_timestep": int(limit)})
    step = a_step(micro_batch=micro_batch, settings=settings)
    models, told = step.models, step.conditions
    cond = models.teacher(step.sample, step.t, told.context, fps=told.fps)
    uncond = models.teacher(step.sample, step.t, told.null_context, fps=told.fps)
    is_guided = times >= limit if end == "start" else times < limit
    assert is_guided.sum() == 1
    got = step.teacher.eps
    torch.testing.assert_close(got[~is_guided], cond[~is_guided])
    guided = (cond + 9 * (cond - uncond))[is_guided]
    torch.testing.assert_close(got[is_guided], guided, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "settings", [GRID, STAGE_1, replace(OWN, cfg_start_timestep=300, cfg_stop_timestep=700)]
)
def test_a_teacher_path_is_so_many_steps_of_ddim(settings):
    step = a_step(settings=settings)
    torch.testing.assert_close(step.teacher_path(1), step.teacher.eps, rtol=1e-4, atol=1e-4)
    sample, t = step.sample, step.t
    for left in (2, 1, 0):
        eps = teacher_eps(
            *(step.models.teacher, sample, t, step.conditions),
            guided=settings.guided_timesteps,
        )
        x0, earlier = predict_x0(sample, eps, t), left * step.t // 3
        last, t = t, earlier
        sample = ddim_step(x0, eps, last, t, rescale=settings.dynamic_rescale)
    if settings.dynamic_rescale:  # of the clean latents, not yet as they are at t = 0
        x0 = x0 / latent_scale()[last].float().reshape(-1, 1, 1, 1, 1)
        x0 = scale_latents(x0, step.t)
    got = predict_x0(step.sample, step.teacher_path(3), step.t)
    torch.testing.assert_close(got, x0, rtol=1e-4, atol=1e-4)


def test_output_kd_can_follow_the_teachers_path():
    step = a_step()
    error = (step.student.eps - step.teacher_path(2)).square().mean()
    torch.testing.assert_close(OutputKD(teacher_steps=2)(step), error)
    with pytest.raises(InputError, match="got teacher_steps 0, expected at least 1"):
        OutputKD(teacher_steps=0)


def test_an_unguided_teacher_is_asked_once():
    models = replace(tiny_models(), kept_blocks=map_to(TEACHER, STUDENT))
    guided, unguided = (a_step(models, replace(GRID, cfg_start_timestep=t)) for t in (0, 1000))
    sizes = []
    handle = models.teacher.register_forward_pre_hook(
        lambda module, args: sizes.append(args[0].shape[0])
    )
    both, one = guided.teacher, unguided.teacher
    handle.remove()
    assert sizes == [4, 2]
    assert not torch.allclose(one.eps, both.eps)
    for name, features in both.features.items():
        torch.testing.assert_close(one.features[name], features)
