"""Visibility of window borders in long videos.

A seam is an unusually large change between neighboring frames. Differences of frames at the borders
of windows are ranked among those inside windows of the same video: without seams, neither kind is
larger (Mann-Whitney test).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..sampling.context_windows import ContextWindows, window_starts

NORMAL_95 = 1.96  # standard errors to either side that hold 95 % of a normal distribution


@dataclass(frozen=True)
class Seams:
    """Seam statistics of one or more videos.

    Attributes:
        inside: median difference of neighboring frames inside windows, in levels of 255.
        at_borders: median difference where a window begins or ends.
        larger: probability that a difference at a border exceeds one inside; 0.5 without seams.
        error: standard error of `larger` without seams.
        beyond: share of borders above the 95th percentile inside; 0.05 without seams.
    """

    inside: float
    at_borders: float
    larger: float
    error: float
    beyond: float

    @property
    def are_visible(self) -> bool:
        """Return whether differences at borders are significantly larger (95 %)."""
        return self.larger > 0.5 + NORMAL_95 * self.error


def frame_differences(frames: np.ndarray) -> np.ndarray:
    """Return the mean absolute difference `[T - 1]` of neighboring uint8 frames `[T, H, W, 3]`."""
    return np.array([np.abs(a.astype(np.int16) - b).mean() for a, b in pairwise(frames)])


def window_borders(num_frames: int, windows: ContextWindows) -> np.ndarray:
    """Return bool `[T - 1]`: whether a window begins or ends between frames i and i + 1."""
    starts = np.array(window_starts(num_frames, windows.length, windows.overlap))
    edges = np.concatenate([starts, starts + windows.length])
    return np.isin(np.arange(1, num_frames), edges)


def measure_seams(videos: Iterable[np.ndarray], windows: ContextWindows) -> Seams:
    """Measure uint8 videos `[T, H, W, 3]` that are longer than their windows."""
    measured = []
    for frames in videos:
        differences = frame_differences(frames)
        borders = window_borders(len(frames), windows)
        measured.append(_rank(differences[borders], differences[~borders]))
    inside, at_borders, larger, variance, beyond = np.mean(measured, axis=0)
    error = math.sqrt(variance / len(measured))
    return Seams(float(inside), float(at_borders), float(larger), error, float(beyond))


def _rank(borders: np.ndarray, inside: np.ndarray) -> tuple[float, ...]:
    """Return the statistics of one video, with the variance of the Mann-Whitney statistic."""
    pairs = borders[:, None] - inside[None]
    larger = (pairs > 0).mean() + 0.5 * (pairs == 0).mean()
    variance = (len(borders) + len(inside) + 1) / (12 * len(borders) * len(inside))
    beyond = (borders > np.quantile(inside, 0.95)).mean()
    return np.median(inside), np.median(borders), larger, variance, beyond
