"""ConsistencyScheduler as users of diffusers expect it."""

from __future__ import annotations

import pytest
import torch
from support.models import rnd

from hummingbird_core.errors import InputError
from hummingbird_core.sampling import initial_noise, step_noise_generator, step_noises
from hummingbird_core.scheduler import ConsistencyScheduler, guidance_scale_embedding

SHAPE = (2, 4, 3, 4, 6)


def scheduler_of(steps: int) -> ConsistencyScheduler:
    scheduler = ConsistencyScheduler()
    scheduler.set_timesteps(steps)
    return scheduler


def test_interface():
    scheduler = scheduler_of(4)
    assert scheduler.timesteps.tolist() == [999, 759, 519, 279]
    assert scheduler.init_noise_sigma == 1.0
    assert scheduler.order == 1
    sample = rnd("x", SHAPE)
    assert scheduler.scale_model_input(sample, 999) is sample
    assert guidance_scale_embedding(torch.tensor([7.5]), 256).shape == (1, 256)


def test_saved_and_loaded(tmp_path):
    scheduler = ConsistencyScheduler()
    scheduler.save_pretrained(tmp_path)
    assert type(ConsistencyScheduler.from_pretrained(tmp_path)) is ConsistencyScheduler
    assert type(ConsistencyScheduler.from_config(scheduler.config)) is ConsistencyScheduler


def test_tuple_is_the_output_without_names():
    sample, eps, noise = (rnd(name, SHAPE) for name in ("x", "eps", "noise"))
    out = scheduler_of(4).step(eps, 759, sample, noise=noise)
    prev_sample, denoised = scheduler_of(4).step(eps, 759, sample, noise=noise, return_dict=False)
    assert torch.equal(out.prev_sample, prev_sample)
    assert torch.equal(out.denoised, denoised)


def test_generators_give_the_noise_of_step_noises():
    sample, eps = rnd("x", SHAPE), rnd("eps", SHAPE)
    generators = [step_noise_generator(5), step_noise_generator(6)]
    drawn = scheduler_of(4).step(eps, 999, sample, generator=generators)
    noise = next(step_noises(SHAPE, seed=5))
    assert torch.equal(drawn.prev_sample, scheduler_of(4).step(eps, 999, sample, noise).prev_sample)


def test_half_precision_draws_the_same_noise():
    sample, eps = initial_noise(SHAPE, 0), rnd("eps", SHAPE)

    def step(dtype: torch.dtype) -> torch.Tensor:
        generator = step_noise_generator(5)
        out = scheduler_of(8).step(eps.to(dtype), 159, sample.to(dtype), generator=generator)
        assert out.prev_sample.dtype == dtype
        return out.prev_sample.float()

    torch.testing.assert_close(step(torch.float16), step(torch.float32), rtol=1e-2, atol=1e-2)


def test_single_step_needs_no_noise():
    out = scheduler_of(1).step(rnd("eps", SHAPE), 999, rnd("x", SHAPE))
    assert torch.equal(out.prev_sample, out.denoised)


def test_steps_in_any_order_give_the_same():
    sample, eps, noise = (rnd(name, SHAPE) for name in ("x", "eps", "noise"))
    scheduler = scheduler_of(4)
    scheduler.step(eps, 279, sample, noise=noise)
    late = scheduler.step(eps, 999, sample, noise=noise)
    assert torch.equal(late.prev_sample, scheduler_of(4).step(eps, 999, sample, noise).prev_sample)


def test_errors():
    sample, eps = rnd("x", SHAPE), rnd("eps", SHAPE)
    with pytest.raises(InputError, match="expected set_timesteps"):
        ConsistencyScheduler().step(eps, 999, sample)
    with pytest.raises(
        InputError, match=r"got timestep 500, expected one of \[999, 759, 519, 279\]"
    ):
        scheduler_of(4).step(eps, 500, sample)
    with pytest.raises(InputError, match="got 51 steps"):
        scheduler_of(51)
