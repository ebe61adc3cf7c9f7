"""Best of N: every score is kept, the best comes first, and a threshold ends the search."""

from __future__ import annotations

import math

import torch
from native import settings

SEEDS = [3, 4, 5]


def test_the_best_of_all_seeds_comes_first(adapter, nano, positive):
    found = adapter.best_of.best_of(nano.model, positive, nano.vae, settings(adapter), SEEDS)
    assert sorted(take.seed for take in found.takes) == SEEDS
    ranks = [take.rank for take in found.takes]
    assert ranks == sorted(ranks, reverse=True)
    assert found.images.shape == (4, 64, 64, 3)
    again = adapter.sampling.sample_video(nano.model, positive, settings(adapter), found.best.seed)
    assert torch.equal(found.latent["samples"], again["samples"])
    assert found.report.count("motion_smoothness") == len(SEEDS)


def test_the_first_video_without_faults_that_reaches_the_threshold_is_the_last(
    adapter, nano, positive
):
    def takes(threshold):
        arguments = nano.model, positive, nano.vae, settings(adapter), SEEDS
        found = adapter.best_of.best_of(*arguments, threshold=threshold).takes
        return {take.seed: take for take in found}

    every = takes(0.0)
    faultless = [seed for seed in SEEDS if not adapter.best_of.faults(every[seed].score)]
    last = faultless[0] if faultless else SEEDS[-1]
    assert sorted(takes(1e-6)) == SEEDS[: SEEDS.index(last) + 1]
    assert sorted(takes(1e9)) == SEEDS  # never reached


def test_what_could_not_be_measured_ranks_last_of_equal_faults(adapter):
    """A single frame, or a plain one, has no motion to be smooth."""

    def take(value):
        return adapter.best_of.Take(3, adapter.best_of.Score(), value, torch.zeros(1))

    assert take(math.nan).rank < take(0.0).rank
