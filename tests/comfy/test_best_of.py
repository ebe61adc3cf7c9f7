"""Best of N: every score is kept, the best comes first, and a threshold ends the search."""

from __future__ import annotations

import math

import pytest
import torch
from support.comfy.graphs import PROMPT
from support.comfy.native import settings

SEEDS = [3, 4, 5]


def test_the_best_of_all_seeds_comes_first(adapter, nano, positive):
    found = adapter.best_of.best_of(nano.model, positive, nano.vae, settings(adapter), SEEDS)
    assert sorted(candidate.seed for candidate in found.candidates) == SEEDS
    ranks = [candidate.rank for candidate in found.candidates]
    assert ranks == sorted(ranks, reverse=True)
    assert found.images.shape == (4, 64, 64, 3)
    again = adapter.sample.sample_video(nano.model, positive, settings(adapter), found.best.seed)
    assert torch.equal(found.latent["samples"], again["samples"])
    assert found.report.count("motion_smoothness") == len(SEEDS)


@pytest.fixture
def found(adapter, nano, positive, monkeypatch):
    """A function (scores of the videos in turn, settings) -> what is found of SEEDS.

    The scores are given, so that it does not matter what the built-in model can do.
    """

    def find(scores: list, **changes):
        given = (adapter.best_of.Score(**measures) for measures in scores)
        monkeypatch.setattr(adapter.best_of, "rating", lambda dover: lambda *_: next(given))
        arguments = nano.model, positive, nano.vae, settings(adapter, frames=2, steps=1), SEEDS
        return adapter.best_of.best_of(*arguments, **changes)

    return find


def good(smoothness: float) -> dict[str, float]:
    return {"motion_smoothness": smoothness}


def faulty(smoothness: float) -> dict[str, float]:
    return {"motion_smoothness": smoothness, "flicker": 1.0}


@pytest.mark.parametrize(
    ("scores", "tried"),
    [
        ([good(0.8), good(0.95), good(0.99)], [3, 4]),  # the second reaches it
        ([faulty(0.99), good(0.95), good(0.9)], [3, 4]),  # so does the first, but with a fault
        ([good(0.8), good(0.8), good(0.8)], [3, 4, 5]),  # none does
    ],
)
def test_the_first_video_without_faults_that_reaches_the_threshold_is_the_last(
    found, scores, tried
):
    assert sorted(candidate.seed for candidate in found(scores, threshold=0.9).candidates) == tried


def test_without_a_threshold_all_are_tried(found):
    assert len(found([good(1.0)] * 3).candidates) == 3


def test_fewer_faults_win_over_the_metric(found):
    result = found([faulty(0.99), good(0.75), good(0.8)])
    assert [candidate.seed for candidate in result.candidates] == [5, 4, 3]
    assert "seed 3: motion_smoothness 0.99, defects: flicker" in result.report


def test_the_video_is_that_of_the_best_at_its_rate(found):
    result = found([good(0.8), good(0.9), good(0.7)])
    parts = result.video.get_components()
    assert torch.equal(parts.images, result.images)
    assert parts.frame_rate == 8


def test_what_could_not_be_measured_ranks_last_of_equal_faults(adapter):
    """A single frame, or a plain one, has no motion to be smooth."""

    def take(value):
        return adapter.best_of.Candidate(3, adapter.best_of.Score(), value, torch.zeros(1))

    assert take(math.nan).rank < take(0.0).rank


@pytest.fixture
def prompted(adapter, nano):
    """A CONDITIONING that carries the text of its prompt."""
    return adapter.prompt.encode_prompt(nano.clip, PROMPT)[0]


def test_agreement_with_the_prompt_ranks_the_seeds(adapter, nano, prompted):
    arguments = nano.model, prompted, nano.vae, settings(adapter), SEEDS
    found = adapter.best_of.best_of(*arguments, metric="agreement")
    values = [candidate.value for candidate in found.candidates]
    assert all(-1 <= value <= 1 for value in values)
    assert found.report.count("agreement") == len(SEEDS)
    assert [one["measures"]["agreement"] for one in found.shown] == values


def test_agreement_needs_the_text_of_the_prompt(adapter, nano, prompted):
    without = [[prompted[0][0], {}]]
    arguments = nano.model, without, nano.vae, settings(adapter), SEEDS
    with pytest.raises(
        adapter.core_errors.InputError, match=r"input positive: .* connect Encode Prompt"
    ):
        adapter.best_of.best_of(*arguments, metric="agreement")


@pytest.mark.parametrize("model", ["os:getcwd", "no/such-model"])
def test_other_models_of_agreement_are_refused_before_sampling(adapter, nano, prompted, model):
    """A workflow must not choose code to run."""
    arguments = nano.model, prompted, nano.vae, settings(adapter), SEEDS
    with pytest.raises(adapter.core_errors.HummingbirdError, match="input agreement_model: "):
        adapter.best_of.best_of(*arguments, metric="agreement", agreement_model=model)
