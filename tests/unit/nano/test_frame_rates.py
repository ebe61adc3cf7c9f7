"""Motions take the same seconds at any frame rate: models that draw."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from support.shape_clips import frames_of

from hummingbird_core.nano.evaluate import Accuracy
from hummingbird_core.nano.frame_rates import PROMPT_SEED, RATES, evaluate_frame_rates
from hummingbird_core.nano.world.paths import NANO_FPS, NUM_FRAMES, Clip
from hummingbird_core.nano.world.scene import Scene
from hummingbird_core.nano.world.stream import samples

COUNT = 4


def scene_of(text: str, fps: float) -> Scene:
    """Return the scene whose caption a prompt is."""
    stream = samples(PROMPT_SEED, Clip(NUM_FRAMES, fps), held_out="wording")
    return next(scene for scene, _, caption in stream if caption == text)


def draw(prompts: list[str], fps: float, timing: Clip | None = None, **_) -> SimpleNamespace:
    """Return the videos of the prompts' scenes, each frame at its time by `timing`."""
    scenes = [scene_of(text, fps) for text in prompts]
    return SimpleNamespace(
        frames=np.stack([frames_of(replace(s, clip=timing or s.clip)) for s in scenes])
    )


def test_a_model_that_follows_the_frame_rate_is_right():
    found = evaluate_frame_rates(draw, COUNT, batch=3)
    assert found == dict.fromkeys(RATES, Accuracy(COUNT, COUNT))


@pytest.mark.parametrize("usual", [NANO_FPS])
def test_a_model_that_ignores_it_is_right_at_its_usual_rate_alone(usual):
    found = evaluate_frame_rates(
        lambda prompts, fps, **_: draw(prompts, fps, Clip(NUM_FRAMES, usual)), COUNT
    )
    assert {fps for fps in RATES if found[fps].right == COUNT} == {usual}
    assert sum(found[fps].right for fps in RATES if fps != usual) <= 1
