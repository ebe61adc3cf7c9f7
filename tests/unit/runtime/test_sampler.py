"""The samplers in numpy give the values of those in torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hummingbird_core import sampling
from hummingbird_core.errors import InputError
from hummingbird_core.inputs.steps import consistency_grid
from hummingbird_core.runtime.noise import initial_noise, step_noises
from hummingbird_core.runtime.sampler import (
    guidance_scale_embedding,
    sample_ddim,
    sample_lcm,
)
from hummingbird_core.sampling import ddim

SHAPE = (1, 4, 3, 4, 5)


def eps_of(sample, t):
    """A formula in place of a U-Net, which both libraries compute alike."""
    return sample * 0.9 + (t / 1000 - 0.5)


def relative(got: np.ndarray, expected: torch.Tensor) -> float:
    return float(np.linalg.norm(got - expected.numpy()) / np.linalg.norm(expected.numpy()))


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7, 8, 25, 50])
def test_consistency_sampling_equals_torch(steps):
    assert consistency_grid(steps) == sampling.consistency_timesteps(steps).tolist()
    noise, noises = sampling.initial_noise(SHAPE, 3), sampling.step_noises(SHAPE, 3)
    expected = sampling.sample_lcm(eps_of, noise, noises, steps)
    got = sample_lcm(eps_of, initial_noise(SHAPE, 3), step_noises(SHAPE, 3), steps)
    assert got.dtype == np.float32
    assert relative(got, expected) < 1e-5


@pytest.mark.parametrize("rescale", [True, False])
@pytest.mark.parametrize("steps", [1, 2, 7, 50, 333])
def test_ddim_equals_torch(steps, rescale):
    expected = ddim.sample_ddim(eps_of, sampling.initial_noise(SHAPE, 3), steps, rescale=rescale)
    got = sample_ddim(eps_of, initial_noise(SHAPE, 3), steps, rescale=rescale)
    assert got.dtype == np.float32
    assert relative(got, expected) < 1e-5


@pytest.mark.parametrize("dim", [256, 7])
@pytest.mark.parametrize("w", [0.0, 1.0, 7.5, 14.9, 1000.0])
def test_guidance_embedding_equals_torch(w, dim):
    expected = sampling.guidance_scale_embedding(torch.tensor([w]), dim).numpy()
    assert np.abs(guidance_scale_embedding(w, dim) - expected).max() < 1e-6


@pytest.mark.parametrize("steps", [0, 51, 2.5])
def test_numbers_of_steps_that_no_sampler_has_are_refused(steps):
    with pytest.raises(InputError, match="expected an int from 1 to 50"):
        consistency_grid(steps)
