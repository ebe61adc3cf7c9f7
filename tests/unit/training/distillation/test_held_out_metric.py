"""Scores of validation videos: what is kept of them, over a resume too, and who may judge."""

from __future__ import annotations

import json
import logging
from itertools import islice

import pytest
import torch
from support.shape_clips import shape_clips

pytest.importorskip("accelerate", reason="needs the extra train")

from hummingbird_core.errors import InputError
from hummingbird_core.training.distillation.held_out_metric import (
    HeldOutMetric,
    load_held_out,
    make_held_out_metric,
)
from hummingbird_core.training.distillation.losses import RewardFeedback
from hummingbird_core.training.distillation.recipe import read_recipe
from hummingbird_core.training.distillation.stage import make_objectives
from hummingbird_core.training.loop.progress import read_losses
from hummingbird_core.training.nano.autoencoder import build_vae
from hummingbird_core.training.rewards.held_out import ShapeAccuracy
from hummingbird_core.training.rewards.shapes import ShapesReward


@pytest.fixture(scope="module")
def drawn() -> tuple[torch.Tensor, list[str]]:
    """Four clips of shapes `[4, 3, T, H, W]` that show what their captions say."""
    scenes = list(islice(shape_clips(3), 4))
    frames = torch.stack([scene.render() for scene, _ in scenes]) * 2 - 1
    return frames, [caption for _, caption in scenes]


def metric(path) -> HeldOutMetric:
    rewards = [RewardFeedback(reward=ShapesReward(), vae=build_vae(), weight=2.0)]
    return HeldOutMetric(path, rewards, ShapeAccuracy())


def test_a_resumed_run_goes_on_with_the_scores_of_the_steps_before(drawn, tmp_path):
    videos, prompts = drawn
    path = tmp_path / "judge.jsonl"
    first = metric(path)
    first.add(0, torch.zeros_like(videos), prompts)
    first.add(100, videos, prompts)
    first.add(200, videos, prompts)
    resumed = metric(path)
    assert [r.step for r in resumed.log.results] == [0, 100, 200]
    resumed.add(200, torch.zeros_like(videos), prompts)  # the state was that of step 150
    lines = read_losses(path)
    assert [line["step"] for line in lines] == [0, 100, 200]
    assert lines[1]["held_out"] == pytest.approx([1.0] * 4)
    assert lines[2] == {**lines[0], "step": 200}
    assert sum(lines[1]["reward"]) > sum(lines[0]["reward"])


def test_rewards_count_by_their_weights(drawn, tmp_path):
    videos, prompts = drawn
    one = metric(tmp_path / "one.jsonl")
    one.add(0, videos, prompts)
    (result,) = one.log.results
    frames = ShapesReward().frames_needed(videos.shape[2], torch.Generator())
    expected = 2.0 * ShapesReward()(videos[:, :, frames], prompts, torch.Generator())
    torch.testing.assert_close(result.reward, expected)


def test_a_fall_since_the_start_is_told_after_a_resume(drawn, tmp_path, caplog):
    videos, prompts = drawn
    path = tmp_path / "judge.jsonl"
    line = {"step": 0, "reward": [0.0, 0.1, 0.0, 0.1], "held_out": [1.0, 1.0, 1.0, 1.0]}
    path.write_text(json.dumps(line) + "\n")
    with caplog.at_level(logging.WARNING):
        metric(path).add(100, videos.flip(2), prompts)  # all move the wrong way
    assert "reward hacking at step 100: since step 0" in caplog.text


def test_the_judge_of_a_recipe(tmp_path):
    recipe = read_recipe("nano-tune")
    objectives = make_objectives(recipe, build_vae())
    made = make_held_out_metric(recipe, objectives, tmp_path / "judge.jsonl")
    assert made is not None
    assert isinstance(made.held_out, ShapeAccuracy)
    without = read_recipe("nano-tune", ["validation.judge=null"])
    assert make_held_out_metric(without, objectives, tmp_path / "judge.jsonl") is None
    assert load_held_out("shapes", None).name == "shapes"


def test_the_best_validation_is_known_without_rewards(drawn, tmp_path):
    videos, prompts = drawn
    recipe = read_recipe("nano-tune", ["objectives.rewards=null"])
    path = tmp_path / "judge.jsonl"
    made = make_held_out_metric(recipe, make_objectives(recipe, build_vae()), path)
    assert made is not None
    results = [(0, torch.zeros_like(videos)), (100, videos), (200, videos.flip(2))]
    assert [made.add(step, clips, prompts) for step, clips in results] == [True, True, False]
    assert [set(line) for line in read_losses(path)] == [{"step", "held_out"}] * 3
    resumed = make_held_out_metric(recipe, {}, path)
    assert resumed is not None
    assert resumed.log.best.step == 100
    assert not resumed.add(300, videos.flip(2), prompts)


def test_prompts_that_nobody_can_read_show_before_training(tmp_path):
    recipe = read_recipe("nano-tune", ["validation.prompts=[a hummingbird over a meadow]"])
    objectives = make_objectives(recipe, build_vae())
    with pytest.raises(InputError, match="got the caption 'a hummingbird over a meadow'"):
        make_held_out_metric(recipe, objectives, tmp_path / "judge.jsonl")
