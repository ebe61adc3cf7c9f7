"""Schedule, guidance embedding and consistency sampling equal the original's (f_, g_, k_)."""

from __future__ import annotations

import pytest
import torch
from support.models import golden, relative_l2, rnd

from hummingbird_core import sampling
from hummingbird_core.scheduler import ConsistencyScheduler

TOLERANCE = 1e-5  # relative L2
TINY = (1, 4, 2, 4, 6)
BATCH = (3, 4, 2, 4, 6)


def test_alphas_cumprod():
    alphas = sampling.alphas_cumprod()
    assert relative_l2(alphas, golden("k_tables")["alphas_cumprod"]) < 1e-7
    # The original's consistency side multiplies in fp32.
    assert relative_l2(alphas, golden("g_scheduler_tables")["alphas_cumprod"]) < 1e-6


def test_latent_scale():
    assert relative_l2(sampling.latent_scale(), golden("k_tables")["scale_arr"]) < 1e-7


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 6, 8, 10, 16, 25, 50])
def test_timesteps(steps):
    expected = golden("g_scheduler_tables")[f"timesteps_n{steps}_orig50"]
    assert torch.equal(sampling.consistency_timesteps(steps), expected)


def test_guidance_scale_embedding():
    w, expected = torch.tensor([5.0, 7.5, 15.0]), golden("f_w_embedding")
    odd = sampling.guidance_scale_embedding(w[1:2], 255)
    assert odd.shape == (1, 255)
    assert relative_l2(odd, expected["dim255_w7.5"]) < 1e-6

    # The golden fp32 frequency 4 is one rounding below the nearest fp32 number (0.4904 of a unit
    # in the last place beside it), which 1000 w multiplies. All others agree.
    got, expected = sampling.guidance_scale_embedding(w), expected["w5_7.5_15"]
    assert relative_l2(got, expected) < 1e-4
    others = torch.ones(256, dtype=torch.bool)
    others[[4, 128 + 4]] = False
    assert relative_l2(got[:, others], expected[:, others]) < 1e-6


def test_boundary_scalings():
    expected, t = golden("g_scheduler_step"), torch.tensor([0, 1, 19, 259, 499, 999])
    c_skip, c_out = sampling.boundary_scalings()
    for got, name in ((c_skip, "c_skip"), (c_out, "c_out")):
        torch.testing.assert_close(
            got[t].float(), expected[f"{name}_t0_1_19_259_499_999"], rtol=1e-5, atol=0
        )


def test_add_noise():
    x0, noise = rnd("input:x0", BATCH), rnd("input:noise", BATCH)
    got = ConsistencyScheduler().add_noise(x0, noise, torch.tensor([0, 499, 999]))
    assert relative_l2(got, golden("g_scheduler_step")["add_noise_t0_499_999"]) < TOLERANCE


def test_add_noise_to_scaled_latents():
    x0, noise, t = rnd("input:x0", BATCH), rnd("input:noise", BATCH), torch.tensor([0, 250, 999])
    expected = golden("k_q_sample")
    plain = sampling.add_noise(x0, noise, t)
    scaled = sampling.add_noise(sampling.scale_latents(x0, t), noise, t)
    assert relative_l2(plain, expected["q_sample_unscaled"]) < TOLERANCE
    assert relative_l2(scaled, expected["q_sample_scaled_t0_250_999"]) < TOLERANCE


def step_cases() -> list[str]:
    return sorted(key for key in golden("g_scheduler_step") if key.endswith("_prev"))


@pytest.mark.parametrize("case", step_cases())
def test_single_steps(case):
    expected = golden("g_scheduler_step")
    steps, index, t = (int(part[1:]) for part in case.split("_")[:3])
    scheduler = ConsistencyScheduler()
    scheduler.set_timesteps(steps)
    assert scheduler.timesteps[index] == t
    eps, sample = rnd("input:model_output", TINY), rnd("input:sample", TINY)
    out = scheduler.step(eps, t, sample, noise=expected["noise_seed1234"])
    assert relative_l2(out.prev_sample, expected[case]) < TOLERANCE
    assert relative_l2(out.denoised, expected[case.replace("_prev", "_denoised")]) < TOLERANCE


def test_step_draws_the_noise_itself():
    expected = golden("g_scheduler_step")
    scheduler = ConsistencyScheduler()
    scheduler.set_timesteps(4)
    eps, sample = rnd("input:model_output", TINY), rnd("input:sample", TINY)
    generator = torch.Generator().manual_seed(1234)
    out = scheduler.step(eps, scheduler.timesteps[0], sample, generator=generator)
    assert relative_l2(out.prev_sample, expected["n4_i0_t999_prev"]) < TOLERANCE


def test_whole_loop():
    """On the original's predictions; test_full_size.py makes them."""
    expected = golden("g_loop_07B_n4_seed42_latents_given")
    scheduler = ConsistencyScheduler()
    scheduler.set_timesteps(4)
    assert torch.equal(scheduler.timesteps, expected["timesteps"])
    sample = rnd("input:x", (1, 4, 4, 16, 16))
    for i, t in enumerate(scheduler.timesteps):
        noise = expected["rng_draws"][i]
        out = scheduler.step(expected[f"eps_{i}"], t, sample, noise=noise)
        assert relative_l2(out.denoised, expected[f"denoised_{i}"]) < TOLERANCE
        sample = out.prev_sample
    assert relative_l2(out.denoised, expected["out"]) < TOLERANCE
