"""Cut detection: where clips begin and end, and what is no cut."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
from support.planted_defects import scene, with_defect

from hummingbird_core.curation.stages.clipping import split_into_clips

FPS = 24.0
SMALL = {"frames": 20, "height": 60, "width": 80}


def outline(frames, max_frames=1000) -> list[tuple[int, int, str]]:
    clips = list(split_into_clips(iter(frames), FPS, max_frames))
    whole = np.concatenate([clip.frames for clip in clips])
    np.testing.assert_array_equal(whole, frames)  # every frame is in exactly one clip
    return [(clip.start, len(clip.frames), clip.boundary) for clip in clips]


def test_cuts_are_found_to_the_frame():
    shots = [scene(seed, **SMALL)[:count] for seed, count in ((1, 9), (2, 14), (3, 7))]
    assert outline(np.concatenate(shots)) == [
        (0, 9, "start"),
        (9, 14, "cut"),
        (23, 7, "cut"),
    ]


@pytest.mark.parametrize("kind", ["blur", "flicker", "freeze", "jerk"])
def test_other_defects_are_no_cuts(kind):
    assert outline(with_defect(kind, 5, **SMALL)) == [(0, 20, "start")]


@pytest.mark.parametrize("seed", range(4))
def test_motion_is_no_cut(seed):
    assert outline(scene(seed, **SMALL)) == [(0, 20, "start")]


def test_a_flash_is_no_cut():
    frames = scene(3, **SMALL)
    frames[10] = 255 - frames[10] // 8
    assert outline(frames) == [(0, 20, "start")]


@pytest.mark.parametrize("level", [0, 255])
def test_blank_frames_are_a_clip_of_their_own(level):
    frames = scene(3, **SMALL)
    frames[8:12] = level
    assert outline(frames) == [(0, 8, "start"), (8, 4, "blank"), (12, 8, "blank")]


def test_long_shots_are_divided():
    frames = scene(4, **SMALL)
    assert outline(frames, max_frames=8) == [(0, 8, "start"), (8, 8, "length"), (16, 4, "length")]


def test_one_frame_and_none():
    assert outline(scene(1, **SMALL)[:1]) == [(0, 1, "start")]
    assert not list(split_into_clips(iter(()), FPS, 10))


def test_the_memory_is_that_of_one_clip():
    """Frames are taken only as clips are asked for."""
    taken = 0

    def endless():
        nonlocal taken
        frame = scene(1, **SMALL)[0]
        while True:
            taken += 1
            yield frame

    clips = split_into_clips(endless(), FPS, 10)
    next(clips)
    assert taken <= 13


def test_the_frames_of_a_clip_are_not_there_twice():
    """Only the search for the next cut holds frames while the stages measure a clip."""
    alive: set[int] = set()

    def watched():
        for index in range(40):
            frame = scene(1, **SMALL)[0]
            alive.add(index)
            weakref.finalize(frame, alive.discard, index)
            yield frame

    clips = split_into_clips(watched(), FPS, 30)
    next(clips)
    assert len(alive) <= 5
