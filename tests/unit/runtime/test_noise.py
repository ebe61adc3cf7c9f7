"""The runner's noise is that of PyTorch's CPU generator."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch

from hummingbird_core import sampling
from hummingbird_core.errors import InputError
from hummingbird_core.runtime.noise import NormalGenerator, initial_noise, step_noises

ROUNDING = 1e-6  # sines and logarithms of numpy and torch differ by one rounding
SEEDS = [0, 1, 2**31, 2**40 + 7, 2**64 - 1]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "shape", [(1, 4, 16, 8, 8), (4, 3, 5, 7), (16,), (17,), (31,), (15,), (3,), (4, 1, 1, 1)]
)
def test_numbers_are_those_of_torch(shape, seed):
    """Also the third draw: torch keeps the second number of a pair, and reaches back at the end."""
    theirs, ours = torch.Generator().manual_seed(seed), NormalGenerator(seed)
    for _ in range(3):
        expected = torch.randn(shape, generator=theirs).numpy()
        got = ours.normal(shape)
        assert got.dtype == np.float32
        assert np.abs(got - expected).max() < ROUNDING


def test_short_and_long_draws_share_one_stream():
    theirs, ours = torch.Generator().manual_seed(5), NormalGenerator(5)
    for shape in [(3,), (20,), (2,), (1,), (16,)]:
        expected = torch.randn(shape, generator=theirs).numpy()
        assert np.abs(ours.normal(shape) - expected).max() < ROUNDING


@pytest.mark.parametrize("seed", SEEDS)
def test_starting_and_step_noise_are_those_of_the_pipeline(seed):
    shape = (1, 4, 3, 2, 5)
    expected = sampling.initial_noise(shape, seed).numpy()
    assert np.abs(initial_noise(shape, seed) - expected).max() < ROUNDING
    pairs = islice(zip(step_noises(shape, seed), sampling.step_noises(shape, seed), strict=True), 3)
    for got, step in pairs:
        assert np.abs(got - step.numpy()).max() < ROUNDING


def test_a_seed_out_of_range_is_refused():
    with pytest.raises(InputError, match="expected an int from 0"):
        initial_noise((1, 4, 1, 2, 2), -1)
