"""The teacher's DDIM with guidance and latent scale equals the original's (k_; its step: l_)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from support.models import golden, relative_l2, rnd
from torch import Tensor

from hummingbird_core.sampling.ddim import (
    classifier_free_guidance,
    ddim_step,
    ddim_timesteps,
    sample_ddim,
)

TOLERANCE = 1e-5  # relative L2
TINY = (1, 4, 2, 4, 6)
BATCH = (3, 4, 2, 4, 6)


def torch_noises(shape: tuple[int, ...], seed: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield torch.randn(shape, generator=generator)


def synthetic_model() -> tuple[Tensor, Tensor]:
    """The two context means that the golden model adds."""
    names = ("input:context", "input:uncond")
    context, uncond = (rnd(name, (1, 77, 1024)).mean() for name in names)
    return context, uncond


@pytest.mark.parametrize("steps", [5, 50])
def test_timesteps(steps):
    expected = golden("k_ddim_synthetic")[f"timesteps_S{steps}"]
    assert torch.equal(ddim_timesteps(steps).flip(0), expected)


@pytest.mark.parametrize("steps", [5, 50])
@pytest.mark.parametrize("eta", [0, 1])
@pytest.mark.parametrize("scale", [0, 1])
def test_whole_loop_of_a_synthetic_model(scale, eta, steps):
    expected = golden("k_ddim_synthetic")
    context, uncond = synthetic_model()

    def predict_noise(x: Tensor, t: int) -> Tensor:
        eps = 0.3 * x + 1e-3 * t
        return classifier_free_guidance(eps + 0.1 * context, eps + 0.1 * uncond, 12.0)

    noises = torch_noises(TINY, seed=5)
    got = sample_ddim(
        predict_noise, rnd("input:x", TINY), steps, eta=eta, noises=noises, rescale=bool(scale)
    )
    assert relative_l2(got, expected[f"scale{scale}_eta{eta}_S{steps}"]) < TOLERANCE


@pytest.mark.parametrize("scale", [0, 1])
def test_one_step_with_a_timestep_for_each_video(scale):
    x0, eps = rnd("input:pred_x0", BATCH), rnd("input:pred_noise", BATCH)
    t, t_next = torch.tensor([19, 419, 999]), torch.tensor([0, 399, 979])
    got = ddim_step(x0, eps, t, t_next, rescale=bool(scale))
    assert relative_l2(got, golden("l_train_math")[f"ddim_step_scale{scale}_eta0"]) < TOLERANCE
