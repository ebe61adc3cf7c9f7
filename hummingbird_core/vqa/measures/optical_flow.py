"""Measures of neighboring frames, accumulated over a video.

Of each pair of frames only a few numbers are kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .frames import LUMA, color_histogram, thumbnail
from .motion import BlockMotion, block_means, block_motion

# A frame is frozen while it differs from the first frame of its run by less than this (levels of
# 255): FROZEN_MEAN limits the mean over the luma, FROZEN_MAX each thumbnail pixel. An encoder
# changes a still image by more than some slow motions change it from frame to frame, but unlike
# theirs its changes do not accumulate. It refines small regions, above all their chroma, by up to 8
# levels a few frames into a freeze: a smaller FROZEN_MAX splits the freeze there. From 12 on, a
# small object that moves 0.1 pixels a frame counts as frozen for more than 0.4 s.
FROZEN_MEAN = 0.75
FROZEN_MAX = 9.0
# A frame repeats the one before if it changes by less than this share of the largest change nearby,
# and that change is visible: a slow motion changes evenly, repeated frames by fits and starts.
REPEAT_SHARE, REPEAT_NEARBY, REPEAT_CHANGE = 0.2, 6, 1.0  # share, pairs on both sides, of 255
STILL = 0.3  # pixels of the thumbnail in half a second: less counts as no motion
RECOLORED = 8.0  # of 255: a block whose color changes by more in half a second is not still
JITTER = 0.15  # pixels of the thumbnail: precision of block matching
CUT_RESIDUAL = 0.3  # minimum `BlockMotion.residual` of a cut
CUT_COLORS = 0.2  # minimum share of pixels that change color at a cut
CUT_RATIO = 1.5  # minimum ratio to the values of the pairs before and after


class MotionSeries:
    """Accumulates measures of motion frame by frame."""

    def __init__(self, fps: float):
        self._fps = fps
        self._half_second = max(1, round(fps / 2))
        self._count = 0
        self._last: _Frame | None = None
        self._anchor: _Frame | None = None  # the frame half a second ago
        self._held: _Frame | None = None  # first frame of the current freeze
        self._motions: list[BlockMotion] = []  # between the last three frames
        self._residuals: list[float] = []  # one for each pair of frames, like the next two
        self._colors: list[float] = []
        self._frozen: list[bool] = []
        self._changes: list[float] = []
        self._speeds: list[float | None] = []
        self._turns: list[tuple[float, float]] = []  # unevenness of velocity, and its upper bound
        self._reversals: list[float | None] = []
        self._still: list[float] = []

    def add(self, frame: np.ndarray, y: np.ndarray, is_visible: bool) -> None:
        """Add a frame.

        Args:
            frame: `[H, W, 3]` of 0..255.
            y: its luma `[H, W]`.
            is_visible: whether it is neither black nor flat.
        """
        small = thumbnail(frame)
        new = _Frame(y, small, thumbnail_luma(small), color_histogram(frame), is_visible)
        if self._last is None:
            self._held = new
        else:
            self._add_pair(self._last, new)
        self._add_half_second(new)
        self._last = new
        self._count += 1

    def _add_pair(self, last: _Frame, new: _Frame) -> None:
        motion = block_motion(last.gray, new.gray)
        comparable = last.is_visible and new.is_visible
        self._residuals.append(motion.residual if comparable else 0.0)
        self._colors.append(color_change(last.colors, new.colors))
        self._add_frozen(comparable, new)
        self._changes.append(float((new.small - last.small).abs().mean()) if comparable else 0.0)
        self._speeds.append(_speed(motion))
        if self._motions:
            self._reversals.append(_reversal(self._motions[-1], motion))
        if len(self._motions) == 2:
            self._turns.append(_turn([*self._motions, motion]))
        self._motions = [*self._motions[-1:], motion]

    def _add_frozen(self, comparable: bool, new: _Frame) -> None:
        is_frozen = comparable and self._held is not None and _is_frozen(self._held, new)
        if not is_frozen:
            self._held = new
        self._frozen.append(is_frozen)

    def _add_half_second(self, new: _Frame) -> None:
        if self._anchor is None:
            self._anchor = new
        elif self._count % self._half_second == 0:
            self._still += _still_share(self._anchor, new)
            self._anchor = new

    def results(self) -> dict[str, float]:
        """Return the measures, {} for a video of one frame; `measure` documents the formulas.

        A measure that no pair of frames shows is absent; a single pair without it counts as 0.
        """
        if self._last is None or self._anchor is None or not self._residuals:
            return {}
        is_short = self._count <= self._half_second
        still = _still_share(self._anchor, self._last) if is_short else self._still
        found = {
            "frozen_fraction": float(np.mean(self._frozen)),
            "longest_freeze": _longest_run(self._frozen) / self._fps,
            "repeated_fraction": _repeated_share(np.array(self._changes)),
            "cuts": float(
                sum(is_cut(self._residuals, self._colors, i) for i in range(len(self._residuals)))
            ),
        }
        if (speed := _mean(self._speeds)) is not None:
            found["motion"] = speed * self._fps / max(self._last.small.shape)
        if still:
            found["static_fraction"] = float(np.mean(still))
        changes, room = np.sum([(0.0, 0.0), *self._turns], axis=0)
        if room:
            found["motion_smoothness"] = 1 - float(changes / room)
        if (reversal := _mean(self._reversals)) is not None:
            found["flicker"] = reversal
        return found


def is_cut(
    residuals: list[float], colors: list[float], pair: int, ratio: float = CUT_RATIO
) -> bool:
    """Return whether content and colors both change far more than before and after.

    Args:
        residuals: `BlockMotion.residual` of each pair of neighboring frames.
        colors: share of the pixels that change color, of each pair.
        pair: index of the pair between which the cut would be.
        ratio: to the values of the pairs before and after, at least.
    """
    return all(
        stands_out(series, pair, least, ratio)
        for series, least in ((residuals, CUT_RESIDUAL), (colors, CUT_COLORS))
    )


def stands_out(series: list[float], pair: int, least: float, ratio: float) -> bool:
    """Return whether a value is above `least` and above `ratio` times those before and after it."""
    around = max((series[i] for i in (pair - 1, pair + 1) if 0 <= i < len(series)), default=0.0)
    return series[pair] > max(least, ratio * around)


def color_change(before: np.ndarray, after: np.ndarray) -> float:
    """Return the share of pixels that change color, from two results of `color_histogram`."""
    return 0.5 * float(np.abs(after - before).sum())


@dataclass(frozen=True)
class _Frame:
    """A frame reduced to the values that the next frames are compared with."""

    y: np.ndarray
    small: torch.Tensor  # thumbnail `[3, h, w]`
    gray: torch.Tensor  # its luma `[1, h, w]`
    colors: np.ndarray
    is_visible: bool


def _is_frozen(held: _Frame, new: _Frame) -> bool:
    return (
        float((new.small - held.small).abs().max()) < FROZEN_MAX
        and float(np.abs(new.y - held.y).mean()) < FROZEN_MEAN
    )


def _repeated_share(changes: np.ndarray) -> float:
    """Return the share of pairs without a change next to pairs with a large one, 0 to 1.

    Args:
        changes: mean absolute change of each pair of frames, [T-1], of 255.
    """
    padded = np.pad(changes, REPEAT_NEARBY)
    nearby = np.lib.stride_tricks.sliding_window_view(padded, 2 * REPEAT_NEARBY + 1).max(axis=1)
    return float(((nearby > REPEAT_CHANGE) & (changes < REPEAT_SHARE * nearby)).mean())


def _mean(values: list[float | None]) -> float | None:
    """Return the mean with None counting as 0, or None if all values are None."""
    if all(value is None for value in values):
        return None
    return float(np.mean([value or 0.0 for value in values]))


def _speed(motion: BlockMotion) -> float | None:
    """Return the mean length of the valid vectors, pixels of the thumbnail per frame."""
    seen = motion.is_textured & motion.is_explained
    return float(motion.vectors[seen].norm(dim=1).mean()) if seen.any() else None


def _turn(motions: list[BlockMotion]) -> tuple[float, float]:
    """Return how far v2 lies from the mean of v1 and v3, summed over the blocks, and its bound.

    The bound is |v2| + (|v1| + |v3|) / 2.

    Args:
        motions: three, one after the other.
    """
    seen = torch.stack([m.is_textured & m.is_explained for m in motions]).all(0)
    one, two, three = (motion.vectors[seen] for motion in motions)
    change = ((two - (one + three) / 2).norm(dim=1) - JITTER).clamp(min=0)
    room = two.norm(dim=1) + (one.norm(dim=1) + three.norm(dim=1)) / 2 + JITTER
    return float(change.sum()), float(room.sum())


def _reversal(first: BlockMotion, second: BlockMotion) -> float | None:
    """Return the mean of min(|b1|, |b2|) over blocks where b1 and b2 differ in sign, of white = 1.

    b1 and b2 are the changes of a block's brightness along its motion.
    """
    seen = first.is_explained & second.is_explained
    one, two = first.brightness_change[seen], second.brightness_change[seen]
    swing = torch.minimum(one.abs(), two.abs()) * (one * two < 0)
    return float(swing.mean()) / 255 if seen.any() else None


def _still_share(before: _Frame, after: _Frame) -> list[float]:
    """Return the share of visible blocks that neither move nor change color.

    Block matching ignores color, so a change of color is tested separately. [] if a frame is
    blank.
    """
    if not (before.is_visible and after.is_visible):
        return []
    motion = block_motion(before.gray, after.gray)
    change = after.small - before.small - (after.gray - before.gray)  # the remainder is color
    is_recolored = block_means(change.abs()).amax(0) > RECOLORED
    is_moved = ~motion.is_explained | (motion.vectors.norm(dim=1) >= STILL)
    is_moved = (motion.is_textured & is_moved) | is_recolored
    seen = motion.is_textured | is_recolored
    return [1 - float(is_moved[seen].float().mean()) if seen.any() else 1.0]


def thumbnail_luma(small: torch.Tensor) -> torch.Tensor:
    """Convert a thumbnail to luma: `[3, h, w] -> [1, h, w]`."""
    return (small * torch.from_numpy(LUMA)[:, None, None]).sum(0, keepdim=True)


def _longest_run(flags: list[bool]) -> int:
    longest = run = 0
    for flag in flags:
        run = run + 1 if flag else 0
        longest = max(longest, run)
    return longest
