"""The guard against reward hacking: a judge that training does not follow."""

from __future__ import annotations

import logging
from itertools import islice

import pytest
import torch
from support.shape_clips import shape_clips

from hummingbird_core.training.rewards.held_out import RewardLog, ShapeAccuracy, evaluate_reward
from hummingbird_core.training.rewards.shapes import ShapesReward


def scores(mean: float) -> torch.Tensor:
    """Return scores of 16 clips: hard prompts stay hard, so clips differ much and alike."""
    generator = torch.Generator().manual_seed(round(1000 * mean))
    own = torch.linspace(-0.2, 0.2, 16)
    return mean + own + 0.02 * torch.randn(16, generator=generator)


def test_warns_once_the_reward_rises_while_the_judge_falls(caplog):
    log = RewardLog()
    with caplog.at_level(logging.WARNING):
        log.add(0, scores(0.30), scores(0.50))
        log.add(100, scores(0.40), scores(0.60))  # both rise: honest progress
        assert not log.is_hacking
        assert not caplog.records
        log.add(200, scores(0.55), scores(0.45))
    assert log.is_hacking
    assert log.best.step == 100
    (record,) = caplog.records
    assert "step 200" in record.getMessage()
    assert (
        "train again with training.steps=100, as its weights were not kept" in record.getMessage()
    )


def test_the_warning_names_the_file_with_the_best_weights(caplog, tmp_path):
    log = RewardLog(find_weights=lambda step: tmp_path / f"best-{step}")
    log.add(100, scores(0.40), scores(0.60))
    log.add(200, scores(0.55), scores(0.45))
    assert caplog.records[0].getMessage().endswith(f"weights of step 100: {tmp_path}/best-100")


@pytest.mark.parametrize(
    ("reward", "held_out"),
    [(0.40, 0.40), (0.41, 0.40), (0.55, 0.595), (0.30, 0.40)],
    ids=["reward still", "reward within chance", "judge within chance", "both fall"],
)
def test_is_silent_otherwise(reward, held_out):
    log = RewardLog()
    log.add(0, scores(0.40), scores(0.60))
    log.add(100, scores(reward), scores(held_out))
    assert not log.is_hacking


def test_one_clip_or_an_empty_log_proves_nothing():
    log = RewardLog()
    assert not log.is_hacking
    log.add(0, torch.tensor([0.1]), torch.tensor([0.9]))
    log.add(1, torch.tensor([0.9]), torch.tensor([0.1]))
    assert not log.is_hacking


@pytest.fixture(scope="module")
def clips() -> tuple[torch.Tensor, list[str]]:
    scenes = list(islice(shape_clips(3), 3))
    return torch.stack([s.render() for s, _ in scenes]) * 2 - 1, [text for _, text in scenes]


def test_judging_keeps_no_gradient_and_repeats_itself(clips):
    frames, captions = clips
    frames = frames.clone().requires_grad_()
    reward = ShapesReward(num_frames=6)
    first = evaluate_reward(reward, frames, captions)
    assert not first.requires_grad
    assert torch.equal(first, evaluate_reward(reward, frames, captions))
    assert first.min() > 0.9


def test_the_reader_of_shapes_is_a_judge(clips):
    frames, captions = clips
    assert evaluate_reward(ShapeAccuracy(), frames, captions).tolist() == [1.0, 1.0, 1.0]
    backwards = evaluate_reward(ShapeAccuracy(), frames.flip(2), captions)
    torch.testing.assert_close(backwards, torch.full((3,), 2 / 3))
    assert evaluate_reward(ShapeAccuracy(), torch.zeros_like(frames), captions).tolist() == [
        0.0,
        0.0,
        0.0,
    ]
