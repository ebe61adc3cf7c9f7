"""Cut detection: where clips begin and end, and what is no cut."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
from support.planted_defects import scene, with_defect
from support.transitions import OTHERS, make

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


def behind_poles(clip: np.ndarray) -> np.ndarray:
    """Put poles that pass close to the camera before a clip, 40 of 128 pixels wide, 10 a frame."""
    columns = np.arange(clip.shape[2])[None, :] - 10 * np.arange(len(clip))[:, None]
    hidden = 0.9 * (columns % 128 < 40)[:, None, :, None]  # [T, 1, W, 1]
    return (clip + hidden * (np.array([200.0, 190.0, 180.0]) - clip)).astype(np.uint8)


@pytest.mark.parametrize("seed", range(8))
def test_a_cut_beside_fast_motion(seed):
    """Distances between histograms hardly stand out there."""
    shots = [behind_poles(make("scene", s)[0][:32]) for s in (seed, seed + 50)]
    assert outline(shots[0]) == [(0, 32, "start")]
    cut = np.concatenate([shots[0][:16], shots[1][16:]])
    assert outline(cut) == [(0, 16, "start"), (16, 16, "cut")]


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


LOOK_AHEAD = 84  # frames: a transition of 2.1 s at 24 frames a second, and its surroundings


def test_the_memory_is_that_of_one_clip_and_one_transition():
    """Frames are decoded only as clips are requested."""
    taken = 0

    def endless():
        nonlocal taken
        frame = scene(1, **SMALL)[0]
        while True:
            taken += 1
            yield frame

    clips = split_into_clips(endless(), FPS, 10)
    next(clips)
    assert taken <= 13 + LOOK_AHEAD


def test_the_frames_of_a_clip_are_not_there_twice():
    """Only the search for what comes next holds frames while the stages measure a clip."""
    alive: set[int] = set()

    def watched():
        for index in range(150):
            frame = scene(1, **SMALL)[0]
            alive.add(index)
            weakref.finalize(frame, alive.discard, index)
            yield frame

    clips = split_into_clips(watched(), FPS, 30)
    next(clips)
    assert len(alive) <= 5 + LOOK_AHEAD


def test_the_look_ahead_is_limited_in_bytes():
    """A file may claim a thousand frames a second."""
    taken = 0

    def endless():
        nonlocal taken
        frame = np.zeros((1024, 1024, 3), np.uint8)
        frame[:512] = 200
        while True:
            taken += 1
            yield frame

    next(split_into_clips(endless(), 1000.0, 10))
    assert taken <= 13 + 2**28 // (3 * 2**20)


@pytest.mark.parametrize("kind", ["dissolve", "gentle dissolve"])
@pytest.mark.parametrize("seconds", [0.2, 0.8, 2.0])
def test_a_dissolve_is_a_clip_of_its_own(kind, seconds):
    frames, (first, last) = make(kind, 5, seconds)
    before, during, after = outline(frames)
    assert (before[2], during[2], after[2]) == ("start", "dissolve", "scene")
    assert abs(during[0] - first) <= 4 + 0.1 * (last - first)
    assert abs(after[0] - 1 - last) <= 4 + 0.1 * (last - first)


def test_a_cut_just_before_and_just_after_a_dissolve():
    frames, (first, last) = make("dissolve", 5, 0.5)
    other, _ = make("scene", 77)
    frames[: first - 1], frames[last + 3 :] = other[: first - 1], other[last + 3 :]
    marked = [(start, kind) for start, _, kind in outline(frames)]
    assert (0, "start") in marked
    assert (last + 3, "cut") in marked
    assert [kind for _, kind in marked].count("dissolve") <= 1
    (clip,) = [c for c in split_into_clips(iter(frames), FPS, 1000) if c.start == last + 3]
    assert not clip.is_transition


@pytest.mark.parametrize("seconds", [0.3, 1.0, 2.0])
def test_a_fade_is_a_clip_of_its_own(seconds):
    for kind in ("fade out", "fade in"):
        frames, (first, last) = make(kind, 3, seconds)
        (fade,) = [clip for clip in outline(frames) if clip[2] == "fade"]
        slack = 3 + 0.1 * (last - first)
        assert fade[0] == pytest.approx(first, abs=slack)
        assert fade[0] + fade[1] == pytest.approx(last, abs=slack)


@pytest.mark.parametrize("kind", [kind for kind in OTHERS if kind != "cut"])
def test_what_resembles_a_transition_is_none(kind):
    frames, _ = make(kind, 6, 0.8)
    assert not any(clip.is_transition for clip in split_into_clips(iter(frames), FPS, 1000))


def test_a_dissolve_longer_than_a_clip_stays_a_transition():
    frames, (first, last) = make("dissolve", 5, 1.6)
    clips = list(split_into_clips(iter(frames), FPS, 10))
    marked = np.concatenate([np.full(len(clip.frames), clip.is_transition) for clip in clips])
    assert marked[first + 2 : last - 1].all()
    assert not marked[: first - 8].any()
    assert not marked[last + 8 :].any()
