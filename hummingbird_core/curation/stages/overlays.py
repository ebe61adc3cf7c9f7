"""Text, logos and watermarks laid over a video, without weights; and the hook for better ones.

Whatever stands still to the pixel, has sharp edges, and has a moving picture around it, was put
there afterwards. A camera on a tripod is no false alarm: there the surroundings stand still, too.
What is half-transparent, animated, or over a still picture is missed: use a detector of your own.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from einops import reduce

from ...files import import_callable
from .frames import gray_frames

LONG_SIDE = 320  # pixels; small text is lost below
LOOKS = 8  # frames that are compared
CELL = 16  # pixels
EDGE = 24.0  # least brightness step between neighbouring pixels, of 255
STILL = 5.0  # standard deviation over time of what was laid over, of 255, at most
MOVING = 4.0  # median change from look to look of a moving picture: a passing object changes few
MIN_EDGES, MIN_MOVING = 0.05, 0.3  # shares of a cell's pixels

Detector = Callable[[np.ndarray, float], dict[str, float]]


def overlay_share(frames: np.ndarray, fps: float) -> dict[str, float]:
    """`overlay`: share (0 to 1) of 16x16 cells with still edges in moving surroundings.

    Nothing for a picture that is smaller than a cell.

    Args:
        frames: uint8 [T,H,W,3], T >= 2.
        fps: frames per second; not used, every stage is called alike.
    """
    chosen = np.linspace(0, len(frames) - 1, min(LOOKS, len(frames))).round().astype(int)
    gray = gray_frames(frames[chosen], LONG_SIDE)
    height, width = (side // CELL * CELL for side in gray.shape[1:])
    if not height or not width:
        return {}
    edges = (_steps(gray).min(axis=0) > EDGE) & (gray.std(axis=0) < STILL)
    moving = np.median(np.abs(np.diff(gray, axis=0)), axis=0) > MOVING
    has_edges = _per_cell(edges[:height, :width]) > MIN_EDGES
    has_motion = _per_cell(moving[:height, :width]) > MIN_MOVING
    return {"overlay": float((has_edges & has_motion).mean())}


def load_detector(name: str) -> Detector:
    """A function of the user's: (frames uint8 [T,H,W,3], fps) -> columns of numbers.

    Args:
        name: `module:function`, importable where the work is done.

    Raises:
        InputError: there is no such function.
    """
    return import_callable(name, "detector")


def _steps(gray: np.ndarray) -> np.ndarray:
    """Largest step from a pixel to its right or lower neighbour, [T,h,w]."""
    right = np.abs(np.diff(gray, axis=2, append=gray[:, :, -1:]))
    down = np.abs(np.diff(gray, axis=1, append=gray[:, -1:]))
    return np.maximum(right, down)


def _per_cell(mask: np.ndarray) -> np.ndarray:
    return reduce(mask.astype(np.float32), "(h a) (w b) -> h w", "mean", a=CELL, b=CELL)
