"""Detect text, logos and watermarks over a video without weights; load users' own detectors.

Sharp edges that stand still to the pixel inside a moving image were added afterwards. A camera on a
tripod is no false alarm: its surroundings stand still too. Overlays that are half-transparent,
animated or over a still image are missed: use your own detector for them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from einops import reduce

from ...files import import_callable
from .frames import gray_frames

OVERLAY_LONG_SIDE = 320  # pixels; small text is lost below
MAX_LOOKS = 8  # frames compared, spread over the clip
CELL = 16  # pixels
EDGE = 24.0  # minimum luma step between neighboring pixels, of 255
MAX_OVERLAY_DEVIATION = 5.0  # standard deviation of an overlay's luma over time, of 255
MOVING = (
    4.0  # median luma change between looks in a moving image; a passing object changes few looks
)
MIN_EDGES, MIN_MOVING = 0.05, 0.3  # shares of a cell's pixels

Detector = Callable[[np.ndarray, float], dict[str, float]]


def overlay_share(frames: np.ndarray, fps: float) -> dict[str, float]:
    """Return `overlay`: share (0 to 1) of 16x16 cells with still edges in moving surroundings.

    Frames smaller than a cell give no column.

    Args:
        frames: uint8 [T,H,W,3], T >= 2.
        fps: frames per second; unused, all stages share one signature.
    """
    chosen = np.linspace(0, len(frames) - 1, min(MAX_LOOKS, len(frames))).round().astype(int)
    gray = gray_frames(frames[chosen], OVERLAY_LONG_SIDE)
    height, width = (side // CELL * CELL for side in gray.shape[1:])
    if not height or not width:
        return {}
    edges = (_steps(gray).min(axis=0) > EDGE) & (gray.std(axis=0) < MAX_OVERLAY_DEVIATION)
    moving = np.median(np.abs(np.diff(gray, axis=0)), axis=0) > MOVING
    has_edges = _per_cell(edges[:height, :width]) > MIN_EDGES
    has_motion = _per_cell(moving[:height, :width]) > MIN_MOVING
    return {"overlay": float((has_edges & has_motion).mean())}


def load_detector(name: str) -> Detector:
    """Import a user's detector: (frames uint8 [T, H, W, 3], fps) -> columns of numbers.

    Args:
        name: `module:function`, importable in the worker processes.

    Raises:
        InputError: there is no such function.
    """
    return import_callable(name, "detector")


def _steps(gray: np.ndarray) -> np.ndarray:
    """Return the larger step from each pixel to its right or lower neighbor, [T, h, w]."""
    right = np.abs(np.diff(gray, axis=2, append=gray[:, :, -1:]))
    down = np.abs(np.diff(gray, axis=1, append=gray[:, -1:]))
    return np.maximum(right, down)


def _per_cell(mask: np.ndarray) -> np.ndarray:
    return reduce(mask.astype(np.float32), "(h a) (w b) -> h w", "mean", a=CELL, b=CELL)
