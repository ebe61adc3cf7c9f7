"""Split a video of any length into clips at shot boundaries, in one pass.

Hard cuts, blank frames (black, white, any flat color), dissolves, fades (`transitions`) and the
maximum length end a clip. The frames of a dissolve or fade are clips, too, which say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np
from einops import rearrange

from ...vqa.measures.frames import color_histogram, thumbnail
from ...vqa.measures.motion import block_motion
from ...vqa.measures.optical_flow import color_change, is_cut, stands_out, thumbnail_luma
from .transitions import TRANSITIONS, Marked, mark_transitions, measure_detail

SMALL_SIDE = 64  # pixels of the longer side of the subsampled frame
HISTOGRAM_LEVELS = 16  # brightness levels of a histogram ...
LEVEL_RANGE = 2.5  # ... from this many standard deviations below the mean to as many above it
MIN_CUT_DISTANCE = 0.05  # between planted scenes it is 0.1 and more, elsewhere at most 0.02
CUT_CONTRAST = 3.0  # a cut stands out this much from the changes just before and after it
# Beside fast motion a cut stands out less, and two other signs decide: many pixels change color, or
# blocks that the motion carries along are not found again. At the one such cut of real films, what
# blocks leave unexplained grows 2.3 times; in made whip pans up to 1.9 times, in which 0.21 of the
# pixels change color.
MIN_DOUBTFUL_DISTANCE, DOUBTFUL_CONTRAST = 0.03, 1.5
BLOCKS_CONTRAST = 2.0
MIN_RECOLORED, RECOLORED_CONTRAST = 0.4, 4.0  # share of the pixels, and ratio as for CUT_CONTRAST
MAX_BLANK_DEVIATION = 4.0  # standard deviation of the pixels of a blank frame, at most; of 255


@dataclass(frozen=True)
class Clip:
    """A section of a video without a cut.

    Attributes:
        frames: uint8 [T,H,W,3].
        fps: frames per second.
        start: index of its first frame in the video.
        boundary: why it begins there: "start", "cut", "blank" (blank frames begin or end) or
            "length" (the clip before had the maximum length), "dissolve" or "fade" (one begins),
            "scene" (one ends).
        is_transition: whether it is a dissolve or fade, or a part of one.
    """

    frames: np.ndarray
    fps: float
    start: int
    boundary: str
    is_transition: bool = False


@dataclass(frozen=True)
class _Look:
    """A frame, whether it is blank, and its 12 cumulative histograms.

    Attributes:
        histograms: [4 quarters x 3 channels, HISTOGRAM_LEVELS], float, the last entry of each is 1.
    """

    frame: np.ndarray
    blank: bool
    histograms: np.ndarray


def split_into_clips(frames: Iterable[np.ndarray], fps: float, max_frames: int) -> Iterator[Clip]:
    """Yield the clips of a video in order; every frame is in exactly one of them.

    Args:
        frames: uint8 [H,W,3] each.
        fps: frames per second.
        max_frames: maximum length of a clip.
    """
    gathered: list[np.ndarray] = []
    start, boundary, is_transition = 0, "start", False
    for index, (frame, kind) in enumerate(mark_boundaries(frames, fps)):
        if not kind and len(gathered) == max_frames:
            kind = "length"
        if kind and gathered:
            yield Clip(_stacked(gathered), fps, start, boundary, is_transition)
            start, boundary = index, kind
        if kind and kind != "length":
            is_transition = kind in TRANSITIONS
        gathered.append(frame)
    if gathered:
        yield Clip(_stacked(gathered), fps, start, boundary, is_transition)


def _stacked(frames: list[np.ndarray]) -> np.ndarray:
    """Stack `frames` and empty the list on the way, so that memory never holds the clip twice."""
    clip = np.empty((len(frames), *frames[0].shape), frames[0].dtype)
    while frames:
        frame = frames.pop()
        clip[len(frames)] = frame
    return clip


def mark_boundaries(frames: Iterable[np.ndarray], fps: float) -> Iterator[tuple[np.ndarray, str]]:
    """Yield each frame with the boundary before it, "" if there is none; see `Clip`."""
    marked = (
        Marked(look.frame, look.histograms, boundary, look.blank, *measure_detail(look.frame))
        for look, boundary in _mark_cuts(frames)
    )
    for mark in mark_transitions(marked, fps, _histogram_distance):
        yield mark.frame, mark.boundary


def _mark_cuts(frames: Iterable[np.ndarray]) -> Iterator[tuple[_Look, str]]:
    """Yield the look of each frame with the boundary before it: "cut", "blank" or ""."""
    looks = map(_look, frames)
    first = next(looks, None)
    if first is None:
        return
    yield first, ""
    earlier = before = here = first  # assume a still image before the start ...
    for after in chain(looks, [None]):
        if after is None:  # ... and after the end
            after = here
        if here is not first:
            yield here, _boundary(earlier, before, here, after)
        earlier, before, here = before, here, after


def _look(frame: np.ndarray) -> _Look:
    step = max(1, max(frame.shape[:2]) // SMALL_SIDE)
    small = frame[::step, ::step].astype(np.float32)
    blank = bool(small.std(axis=(0, 1)).max() <= MAX_BLANK_DEVIATION)
    # Standardize: a change of exposure alone is no cut.
    levels = (small - small.mean()) / max(float(small.std()), 1.0) * (
        HISTOGRAM_LEVELS / 2 / LEVEL_RANGE
    ) + HISTOGRAM_LEVELS / 2
    levels = levels.clip(0, HISTOGRAM_LEVELS - 1).astype(np.int64)
    height, width = (side // 2 * 2 for side in levels.shape[:2])
    # [2 h, 2 w, 3] -> [12, h w]: 4 quarters x 3 channels
    quarters = rearrange(levels[:height, :width], "(a h) (b w) c -> (a b c) (h w)", a=2, b=2)
    codes = quarters + HISTOGRAM_LEVELS * np.arange(12)[:, None]  # so that one count does for all
    counts = np.bincount(codes.ravel(), minlength=12 * HISTOGRAM_LEVELS)
    histograms = counts.reshape(12, HISTOGRAM_LEVELS).cumsum(axis=1)
    return _Look(frame, blank, histograms / max(1, quarters.shape[1]))


def _boundary(earlier: _Look, before: _Look, here: _Look, after: _Look) -> str:
    if before.blank != here.blank:
        return "blank"
    # A flash or flicker returns to the earlier image, a cut does not: every frame after a cut has
    # to differ from every frame before it.
    across = min(_distance(a, b) for a in (earlier, before) for b in (here, after))
    within = max(_distance(earlier, before), _distance(here, after))
    if across > MIN_CUT_DISTANCE and across > CUT_CONTRAST * within:
        return "cut"
    is_doubtful = across > MIN_DOUBTFUL_DISTANCE and across > DOUBTFUL_CONTRAST * within
    return "cut" if is_doubtful and _is_another_scene([earlier, before, here, after]) else ""


def _is_another_scene(looks: list[_Look]) -> bool:
    """Return whether the last two of four looks show other colors or blocks than the first two."""
    lumas = [thumbnail_luma(thumbnail(look.frame)) for look in looks]
    histograms = [color_histogram(look.frame) for look in looks]
    residuals = [block_motion(a, b).residual for a, b in pairwise(lumas)]
    colors = [color_change(a, b) for a, b in pairwise(histograms)]
    is_recolored = stands_out(colors, 1, MIN_RECOLORED, RECOLORED_CONTRAST)
    return is_recolored or is_cut(residuals, colors, pair=1, ratio=BLOCKS_CONTRAST)


def _distance(a: _Look, b: _Look) -> float:
    """Return the mean earth mover's distance of the histograms, 0 to 1.

    In one dimension it is the mean of |P - Q| over the levels, P and Q being the cumulative
    histograms. Unlike the plain difference of histograms it grows with the distance the brightness
    moved, so that noise at the border of two levels counts for little.
    """
    return _histogram_distance(a.histograms, b.histograms)


def _histogram_distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).mean())
