"""Distance between seeds, density and coverage."""

from __future__ import annotations

import pytest
import torch

from hummingbird_core.video.diversity import (
    density_and_coverage,
    has_collapsed,
    seed_distance,
)


def test_the_distance_between_seeds_is_the_mean_over_all_pairs():
    videos = torch.tensor([[[0.0], [2.0], [4.0]], [[1.0], [1.0], [1.0]]])
    torch.testing.assert_close(seed_distance(videos), torch.tensor([8 / 3, 0.0]))
    with pytest.raises(ValueError, match="got 1 seeds"):
        seed_distance(videos[:, :1])


def test_videos_like_the_real_ones_have_density_and_coverage_near_1():
    generator = torch.Generator().manual_seed(0)
    real, generated = torch.randn(2, 400, 8, generator=generator)
    found = density_and_coverage(real, generated)
    assert found.density == pytest.approx(1, abs=0.1)
    assert found.coverage > 0.9


def test_missing_modes_cost_coverage_and_outliers_cost_density():
    """The published experiment: coverage falls with dropped modes, density with outliers."""
    generator = torch.Generator().manual_seed(0)
    modes = 10 * torch.randn(10, 8, generator=generator)
    real = (modes[:, None] + torch.randn(10, 40, 8, generator=generator)).flatten(0, 1)
    half = (modes[:5, None] + torch.randn(5, 80, 8, generator=generator)).flatten(0, 1)
    dropped = density_and_coverage(real, half)
    assert dropped.coverage == pytest.approx(0.5, abs=0.06)
    assert dropped.density == pytest.approx(1, abs=0.2)
    outliers = real + 40
    assert density_and_coverage(real, outliers).density == 0


def test_collapse_is_the_loss_of_more_than_a_fifth():
    assert has_collapsed(7.9, 10.0)
    assert not has_collapsed(8.1, 10.0)


def test_too_few_real_videos_are_refused():
    with pytest.raises(ValueError, match="got 5 real videos, expected more than k = 5"):
        density_and_coverage(torch.zeros(5, 2), torch.zeros(9, 2))
