"""Does a long video show where its windows begin and end?

A seam is a change from one frame to the next that is larger than usual. So the differences of
frames at the borders of windows are ranked among those inside windows of the same video: without
seams, neither kind is the larger one (Mann-Whitney test).
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
    """Of one or more videos.

    Attributes:
        inside: median difference of two frames inside windows, in levels of 255.
        at_borders: the same where a window begins or ends.
        larger: how often a border's difference exceeds one inside, 0..1; 0.5 without seams.
        error: standard error of `larger` where there are no seams.
        beyond: share of borders above the 95th percentile inside; 0.05 without seams.
    """

    inside: float
    at_borders: float
    larger: float
    error: float
    beyond: float

    @property
    def are_visible(self) -> bool:
        """Whether borders differ from the rest by more than chance explains (95 %)."""
        return self.larger > 0.5 + NORMAL_95 * self.error


def frame_differences(frames: np.ndarray) -> np.ndarray:
    """Mean difference of each frame, uint8 `[T, H, W, 3]`, to the one before: `[T - 1]` levels."""
    return np.array([np.abs(a.astype(np.int16) - b).mean() for a, b in pairwise(frames)])


def window_borders(num_frames: int, windows: ContextWindows) -> np.ndarray:
    """Whether a window begins or ends between frame i and i + 1: bool `[T - 1]`."""
    starts = np.array(window_starts(num_frames, windows.length, windows.overlap))
    edges = np.concatenate([starts, starts + windows.length])
    return np.isin(np.arange(1, num_frames), edges)


def measure_seams(videos: Iterable[np.ndarray], windows: ContextWindows) -> Seams:
    """Measures videos, uint8 `[T, H, W, 3]` each, that are longer than their windows."""
    measured = []
    for frames in videos:
        differences = frame_differences(frames)
        borders = window_borders(len(frames), windows)
        measured.append(_rank(differences[borders], differences[~borders]))
    inside, at_borders, larger, variance, beyond = np.mean(measured, axis=0)
    error = math.sqrt(variance / len(measured))
    return Seams(float(inside), float(at_borders), float(larger), error, float(beyond))


def _rank(borders: np.ndarray, inside: np.ndarray) -> tuple[float, ...]:
    """One video's measures; the variance is that of the Mann-Whitney statistic."""
    pairs = borders[:, None] - inside[None]
    larger = (pairs > 0).mean() + 0.5 * (pairs == 0).mean()
    variance = (len(borders) + len(inside) + 1) / (12 * len(borders) * len(inside))
    beyond = (borders > np.quantile(inside, 0.95)).mean()
    return np.median(inside), np.median(borders), larger, variance, beyond
