"""The measure of seams finds planted ones, and none where there are none."""

from __future__ import annotations

import numpy as np

from hummingbird_core.evaluation.seams import frame_differences, measure_seams, window_borders
from hummingbird_core.sampling.context_windows import ContextWindows

WINDOWS = ContextWindows(length=16, overlap=8)
T = 64


def videos(jump: float, count: int = 6) -> list[np.ndarray]:
    """Grey that drifts by about 3 levels a frame, and by `jump` more at borders of windows."""
    rng = np.random.default_rng(0)
    borders = window_borders(T, WINDOWS)
    made = []
    for _ in range(count):
        steps = 3 + rng.normal(size=T - 1) + jump * borders
        grey = np.concatenate([[0], np.cumsum(steps)]).round().astype(np.uint8)
        made.append(np.broadcast_to(grey[:, None, None, None], (T, 2, 2, 3)))
    return made


def test_differences_are_in_levels_and_do_not_overflow():
    frames = np.array([0, 255, 250], np.uint8).reshape(3, 1, 1, 1).repeat(3, axis=3)
    assert frame_differences(frames).tolist() == [255, 5]


def test_borders_are_where_a_window_begins_or_ends():
    places = np.flatnonzero(window_borders(32, ContextWindows(16, 4))) + 1
    assert places.tolist() == [8, 16, 24]  # windows from 0, 8 and 16


def test_an_even_video_has_no_seams():
    seams = measure_seams(videos(jump=0), WINDOWS)
    assert not seams.are_visible
    assert abs(seams.larger - 0.5) < 3 * seams.error
    assert seams.beyond < 0.2


def test_planted_seams_are_found():
    seams = measure_seams(videos(jump=2), WINDOWS)
    assert seams.are_visible
    assert seams.at_borders > seams.inside + 1
    assert seams.beyond > 0.3  # 0.05 by chance


def test_smooth_borders_are_no_seams():
    assert not measure_seams(videos(jump=-2), WINDOWS).are_visible
