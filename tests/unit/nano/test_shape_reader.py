"""The reader of moving shapes, on clips that are drawn and so known exactly."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from support.shape_clips import frames_of, shape_clips, stated

from hummingbird_core.nano.readers.shapes import ShapeReading, read_shape_scene
from hummingbird_core.nano.world.paths import FRAME_SIZE, Clip


@pytest.mark.parametrize("num_frames", [16, 26])
def test_drawn_clips_are_read_right(num_frames):
    for scene, _ in islice(shape_clips(0, Clip(num_frames)), 150):
        assert read_shape_scene(frames_of(scene)) == ShapeReading(*stated(scene))


def test_motion_played_backwards_is_the_opposite():
    opposite = {"left": "right", "right": "left", "up": "down", "down": "up"}
    for scene, _ in islice(shape_clips(1), 8):
        seen = read_shape_scene(frames_of(scene)[::-1])
        assert seen.direction == opposite[stated(scene)[2]]


@pytest.mark.parametrize("level", [0, 128])
def test_nothing_is_read_in_an_empty_video(level):
    empty = np.full((16, FRAME_SIZE, FRAME_SIZE, 3), level, dtype=np.uint8)
    assert read_shape_scene(empty) == ShapeReading(None, None, None)


def test_no_shape_is_read_in_noise():
    shape = (16, FRAME_SIZE, FRAME_SIZE, 3)
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    seen = read_shape_scene(noise)
    assert (seen.shape, seen.direction) == (None, None)


def test_a_still_video_has_no_direction():
    scene, _ = next(shape_clips(2))
    still = np.repeat(frames_of(scene)[:1], 16, axis=0)
    assert read_shape_scene(still) == ShapeReading(*stated(scene)[:2], None)
