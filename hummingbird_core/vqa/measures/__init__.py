"""All weight-free measures of a video in one pass."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from ...errors import InputError
from .frames import FrameSeries, luma
from .optical_flow import MotionSeries


def measure(frames: Iterable[np.ndarray], fps: float = 8.0) -> dict[str, float]:
    """Measure a video of any length in one pass, in the memory of a few frames.

    num_frames: number of frames.
    nan_fraction, 0..1: share of values that are NaN or infinite (frames of floats).
    black_fraction, 0..1: share of frames with 98 % of the luma below 10 % of white.
    flat_fraction, 0..1: share of frames of a single color other than black.
    brightness, 0..1: mean luma.
    contrast, 0..0.5: `frames.contrast`, standard deviation of the colors, mean over frames.
    dark_clipped, 0..1: share of pixels with luma of 5 of 255 or less.
    bright_clipped, 0..1: share of pixels with luma of 250 of 255 or more.
    blur, 0..1: `frames.blur`, median of 4 frames a second; 1 is blurred.
    blockiness, from 0: `frames.blockiness`, median of 4 frames a second; 0 is none.
    noise, 0..1: `layout.noise`, median of 4 frames a second; 1 is pure noise.
    bars, 0..1: `layout.bars`, share of the picture under bars of one color (letterbox, pillarbox).
    title_fraction, 0..1: share of 4 frames a second that are a title card, `layout.is_title_card`.
    frozen_fraction, 0..1: share of frames that repeat an earlier one; blank frames do not count.
    longest_freeze: longest run of repeated frames, in seconds.
    repeated_fraction, 0..1: share of frames that repeat the one before, next to a large change; 0.5
        if each frame is shown twice. A slow motion has none.
    motion, from 0: mean speed of textured blocks, in longer sides per second.
    static_fraction, 0..1: share of blocks that neither move nor change color in half a second.
    motion_smoothness, 0..1: 1 - sum of |v' - (v + v'') / 2| / sum of (|v'| + (|v| + |v''|) / 2),
        with v, v' and v'' the motions of a block over three frames; 1 is an even motion. A swing
        that slows down evenly and turns around is even, too, at 8 frames a second as at 24.
    flicker, 0..1: mean of min(|b|, |b'|) where b and b' have opposite signs, b and b' being the
        changes of a block's luma, along its motion, to the next frame and to the one after it.
    cuts: number of pairs of frames that share neither content nor colors.

    Motion is measured on the luma: an object that differs from its background in color alone does
    not count as moving. Measures that cannot be computed are absent: all from `frozen_fraction` on
    for a single frame; blur, blockiness, noise, bars, title_fraction, static_fraction, motion and
    motion_smoothness for a video that is black or flat throughout; motion_smoothness for less than
    four frames; blockiness for less than 65 rows or columns, and blur for less than 10 of both.

    Args:
        frames: `[H, W, 3]` each, uint8, or floats of 0..1.
        fps: frames per second.

    Raises:
        InputError: `frames` is empty or holds an array that is not a frame, or fps is not above 0.
    """
    if not (math.isfinite(fps) and fps > 0):
        raise InputError(f"got {fps} frames a second, expected more than 0")
    single, pairs = FrameSeries(fps), MotionSeries(fps)
    shape = None
    for frame in frames:
        pixels, not_finite = _check_frame(np.asarray(frame), shape)
        shape = pixels.shape
        y = luma(pixels)
        is_visible = single.add(pixels, y, not_finite)
        pairs.add(pixels, y, is_visible)
    if shape is None:
        raise InputError("got a video without frames, expected at least one")
    return {**single.results(), **pairs.results()}


def _check_frame(frame: np.ndarray, shape: tuple[int, ...] | None) -> tuple[np.ndarray, float]:
    """Return the frame in 0..255, non-finite values set to 0, and the share of those values."""
    is_float = np.issubdtype(frame.dtype, np.floating)
    is_frame = frame.ndim == 3 and frame.shape[-1] == 3 and frame.size > 0
    if not is_frame or not (is_float or frame.dtype == np.uint8):
        raise InputError(
            f"got a frame {frame.dtype} {list(frame.shape)}, expected uint8 or float [H,W,3]"
        )
    if shape is not None and frame.shape != shape:
        raise InputError(f"got frames {shape} and {frame.shape}, expected one size in a video")
    if not is_float:
        return frame, 0.0
    finite = np.isfinite(frame)
    pixels = np.where(finite, frame, 0).clip(0, 1).astype(np.float32) * 255
    return pixels, 1 - float(finite.mean())
