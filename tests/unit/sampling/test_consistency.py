"""Schedule, seeded noise and samplers: relations that hold for any model."""

from __future__ import annotations

import itertools

import pytest
import torch
from diffusers import DDIMScheduler
from support.models import relative_l2, rnd
from torch import Tensor

from hummingbird_core import sampling
from hummingbird_core.errors import InputError
from hummingbird_core.sampling.ddim import ddim_step, ddim_timesteps, sample_ddim
from hummingbird_core.scheduler import ConsistencyScheduler

SHAPE = (2, 4, 3, 4, 6)


def toy_eps(sample: Tensor, t: int) -> Tensor:
    return 0.3 * sample.flip(2) + 1e-3 * t


def toy_denoiser(x: Tensor, sigma: Tensor, **_: object) -> Tensor:
    """The same model as k-diffusion calls it."""
    sigma = sigma.view(-1, 1, 1, 1, 1)
    t = sampling.timestep_of_sigma(sigma[0])
    return x - sigma * toy_eps(x / (1 + sigma**2).sqrt(), t)


def starting_point(steps: int) -> tuple[Tensor, Tensor]:
    """Sigmas, and noise scaled for k-diffusion."""
    sigmas = sampling.consistency_sigmas(steps)
    return sigmas, rnd("x", SHAPE) * (1 + sigmas[0] ** 2).sqrt()


@pytest.mark.parametrize("steps", range(1, 51))
def test_any_number_of_steps(steps):
    timesteps = sampling.consistency_timesteps(steps)
    assert len(timesteps) == steps
    assert timesteps[0] == 999
    assert all(later < earlier for earlier, later in itertools.pairwise(timesteps.tolist()))
    assert set(timesteps.tolist()) <= set(range(19, 1000, 20))


@pytest.mark.parametrize("steps", [0, 51, -1, 4.0, None])
def test_impossible_steps(steps):
    with pytest.raises(InputError, match="expected an int from 1 to 50"):
        sampling.consistency_timesteps(steps)


@pytest.mark.parametrize("steps", [1, 3, 4, 8, 50])
def test_k_diffusion_twin_equals_the_scheduler(steps):
    sigmas, x = starting_point(steps)
    noises = [rnd(f"noise {i}", SHAPE) for i in range(steps)]
    remaining = iter(noises)
    got = sampling.sample_lcm_kdiffusion(
        toy_denoiser, x, sigmas, disable=True, noise_sampler=lambda *_: next(remaining)
    )
    scheduler, sample = ConsistencyScheduler(), rnd("x", SHAPE)
    scheduler.set_timesteps(steps)
    for t, noise in zip(scheduler.timesteps, noises, strict=True):
        out = scheduler.step(toy_eps(sample, int(t)), t, sample, noise=noise)
        sample = out.prev_sample
    assert relative_l2(got, out.denoised) < 1e-5


def test_sampler_draws_seeded_noise_and_tells_the_callback():
    sigmas, x = starting_point(4)
    told: list[dict] = []

    def run(seed: int) -> Tensor:
        arguments = {"extra_args": {"seed": seed}, "callback": told.append, "disable": True}
        return sampling.sample_lcm_kdiffusion(toy_denoiser, x, sigmas, **arguments)

    first = run(1)
    assert [step["i"] for step in told] == [0, 1, 2, 3]
    assert torch.equal(told[-1]["denoised"], first)
    assert torch.equal(first, run(1))
    assert not torch.equal(first, run(2))


def test_sampler_without_seed_follows_torch():
    sigmas, x = starting_point(2)

    def run() -> Tensor:
        torch.manual_seed(3)
        return sampling.sample_lcm_kdiffusion(toy_denoiser, x, sigmas, disable=True)

    assert torch.equal(run(), run())


def test_sigmas_and_timesteps_are_one_to_one():
    sigmas = sampling.consistency_sigmas(50)
    assert sigmas[-1] == 0
    timesteps = [sampling.timestep_of_sigma(sigma) for sigma in sigmas[:-1]]
    assert timesteps == sampling.consistency_timesteps(50).tolist()


def test_predict_x0_inverts_add_noise_for_every_dtype():
    x0, noise, t = rnd("x0", SHAPE), rnd("noise", SHAPE), torch.tensor([19, 999])
    noisy = sampling.add_noise(x0.double(), noise.double(), t)
    assert relative_l2(sampling.predict_x0(noisy, noise.double(), t), x0) < 1e-12
    half = sampling.add_noise(x0.half(), noise.half(), t)
    assert half.dtype == torch.float16
    assert relative_l2(half, noisy) < 1e-3


def test_one_timestep_for_all_equals_one_for_each():
    x0, noise = rnd("x0", SHAPE), rnd("noise", SHAPE)
    each = sampling.add_noise(x0, noise, torch.tensor([259, 259]))
    assert torch.equal(sampling.add_noise(x0, noise, 259), each)


def test_consistency_function_is_the_identity_at_zero():
    sample, eps = rnd("x", SHAPE), rnd("eps", SHAPE)
    assert torch.equal(sampling.consistency_function(sample, eps, 0), sample)


def test_video_noise_does_not_depend_on_the_batch():
    batch = sampling.initial_noise(SHAPE, seed=7)
    alone = sampling.initial_noise((1, *SHAPE[1:]), seed=8)
    assert torch.equal(batch[1:], alone)
    steps = sampling.step_noises(SHAPE, seed=7)
    steps_alone = sampling.step_noises((1, *SHAPE[1:]), seed=8)
    for _ in range(3):
        assert torch.equal(next(steps)[1:], next(steps_alone))


def test_noise_of_one_video_is_plain_torch_noise():
    generator = torch.Generator().manual_seed(7)
    shape = (1, *SHAPE[1:])
    assert torch.equal(sampling.initial_noise(shape, 7), torch.randn(shape, generator=generator))


def test_streams_differ():
    shape = (1, *SHAPE[1:])
    steps = sampling.step_noises(shape, seed=7)
    draws = [sampling.initial_noise(shape, 7), next(steps), next(steps)]
    draws += [next(sampling.step_noises(shape, 8))]
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(draws, 2))


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, None])
def test_impossible_seeds(seed):
    with pytest.raises(InputError, match="expected an int from 0"):
        sampling.initial_noise(SHAPE, seed)
    with pytest.raises(InputError, match="expected an int from 0"):
        next(sampling.step_noises(SHAPE, seed))


def test_highest_seed_counts_on_from_zero():
    batch = sampling.initial_noise(SHAPE, seed=sampling.MAX_SEED)
    assert torch.equal(batch[1:], sampling.initial_noise((1, *SHAPE[1:]), seed=0))


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("steps", [4, 30])
def test_ddim_without_latent_scale_is_that_of_diffusers(eta, steps):
    scheduler = DDIMScheduler(
        beta_start=sampling.schedule.BETA_START,
        beta_end=sampling.schedule.BETA_END,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    scheduler.set_timesteps(steps)
    assert torch.equal(ddim_timesteps(steps), scheduler.timesteps)
    noises = [rnd(f"noise {i}", SHAPE) for i in range(steps)]
    expected = rnd("x", SHAPE)
    for t, noise in zip(scheduler.timesteps.tolist(), noises, strict=True):
        eps = toy_eps(expected, t)
        variance_noise = noise if eta else None
        expected = scheduler.step(
            eps, t, expected, eta=eta, variance_noise=variance_noise
        ).prev_sample
    got = sample_ddim(toy_eps, rnd("x", SHAPE), steps, eta=eta, noises=noises, rescale=False)
    assert relative_l2(got, expected) < 1e-5


def test_ddim_step_with_true_predictions_follows_add_noise():
    x0, eps = rnd("x0", SHAPE), rnd("eps", SHAPE)
    assert relative_l2(ddim_step(x0, eps, 801, 601), sampling.add_noise(x0, eps, 601)) < 1e-6
    scaled = sampling.scale_latents(x0, 301)
    expected = sampling.add_noise(sampling.scale_latents(x0, 101), eps, 101)
    assert relative_l2(ddim_step(scaled, eps, 301, 101, rescale=True), expected) < 1e-6


def test_ddim_needs_a_noise_for_every_step():
    with pytest.raises(InputError, match="got no noise for t = 1"):
        sample_ddim(toy_eps, rnd("x", SHAPE), 5, eta=1.0, noises=[rnd("n", SHAPE)] * 4)


@pytest.mark.parametrize("steps", [0, 501])
def test_ddim_impossible_steps(steps):
    with pytest.raises(InputError, match="expected an int from 1 to 500"):
        ddim_timesteps(steps)


def test_schedule_works_in_training_after_inference_mode():
    with torch.inference_mode():
        sampling.alphas_cumprod()
    x0 = rnd("x0", SHAPE).requires_grad_()
    sampling.add_noise(x0, rnd("noise", SHAPE), 500).sum().backward()
    assert torch.isfinite(x0.grad).all()
