"""Detect text, logos and watermarks over a video without weights; load users' own detectors.

Sharp edges that stand still to the pixel inside a moving image were added afterwards. A camera on a
tripod is no false alarm: its surroundings stand still too. Over a still image only lines of bright
letters are found, by their strokes, and so are signs in the scene if the camera stands still.
Overlays that are half-transparent or animated, and dark letters over a still image, are missed: use
your own detector for them.
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
STROKE = 7  # pixels; a stroke of a letter is thinner
MIN_STROKE_LUMA = 170.0  # of 255
STROKE_CONTRAST = 70.0  # minimum luma of a stroke above its surroundings, of 255
MAX_STROKE_DEVIATION = 8.0  # of a stroke's luma over time: the picture shines through its edges
MIN_STROKES = 0.05  # share of a cell's pixels
MIN_STARTS = 6  # of strokes in a cell, along its rows and along its columns
LINE_CELLS = 3  # neighboring cells in a row, at least, that a line of text fills

Detector = Callable[[np.ndarray, float], dict[str, float]]


def overlay_share(frames: np.ndarray, fps: float) -> dict[str, float]:
    """Return `overlay`: share (0 to 1) of 16x16 cells with text or a logo.

    These are neighboring cells with still edges in moving surroundings, and lines of bright
    letters. Frames smaller than a cell give no column.

    Args:
        frames: uint8 [T,H,W,3], T >= 2.
        fps: frames per second; unused, all stages share one signature.
    """
    chosen = np.linspace(0, len(frames) - 1, min(MAX_LOOKS, len(frames))).round().astype(int)
    gray = gray_frames(frames[chosen], OVERLAY_LONG_SIDE)
    if min(gray.shape[1:]) < CELL:
        return {}
    deviation = gray.std(axis=0)  # [h, w], of each pixel over time
    found = _still_edges(gray, deviation) | _lines_of_text(gray, deviation)
    return {"overlay": float(found.mean())}


def load_detector(name: str) -> Detector:
    """Import a user's detector: (frames uint8 [T, H, W, 3], fps) -> columns of numbers.

    Args:
        name: `module:function`, importable in the worker processes.

    Raises:
        InputError: there is no such function.
    """
    return import_callable(name, "detector")


def _still_edges(gray: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Return the cells [rows, columns] with still edges in moving surroundings, next to others."""
    edges = (_steps(gray).min(axis=0) > EDGE) & (deviation < MAX_OVERLAY_DEVIATION)
    moving = np.median(np.abs(np.diff(gray, axis=0)), axis=0) > MOVING
    found = (_per_cell(edges) > MIN_EDGES) & (_per_cell(moving) > MIN_MOVING)
    # Of one cell alone, it is chance: a bow tie, the frame of a car's window.
    around = reduce(_windows(np.pad(found, 1), 3, 3), "r c a b -> r c", "sum")
    return found & (around > 1)


def _lines_of_text(gray: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Return the cells [rows, columns] of lines of bright letters that stand still.

    Strokes are what a morphological opening removes (white top-hat). A fence has strokes too, but
    of one direction.
    """
    darkest = gray.min(axis=0)  # over time: what moves is not bright for long
    strokes = (
        (darkest > MIN_STROKE_LUMA)
        & (darkest - _opened(darkest, STROKE) > STROKE_CONTRAST)
        & (deviation < MAX_STROKE_DEVIATION)
    )
    letters = _per_cell(strokes) > MIN_STROKES
    for axis in (0, 1):
        starts = np.diff(strokes.astype(np.int8), axis=axis, prepend=0) > 0
        letters &= _per_cell(starts) * CELL**2 >= MIN_STARTS
    side = LINE_CELLS - 1
    padded = np.pad(letters, ((0, 0), (side, side)))
    lines = reduce(_windows(padded, 1, LINE_CELLS), "r c a b -> r c", "all")
    # A cell is in a line if one of the windows over it is full.
    return reduce(_windows(lines, 1, LINE_CELLS), "r c a b -> r c", "any")


def _windows(array: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return all windows of an array [h, w]: [h - height + 1, w - width + 1, height, width]."""
    return np.lib.stride_tricks.sliding_window_view(array, (height, width))


def _opened(image: np.ndarray, side: int) -> np.ndarray:
    """Return the morphological opening of an image [h, w] by a square: erosion, then dilation."""
    for extreme in ("min", "max"):
        for height, width in ((side, 1), (1, side)):  # a square, one axis after the other
            around = np.pad(image, ((height // 2,) * 2, (width // 2,) * 2), mode="edge")
            image = reduce(_windows(around, height, width), "h w a b -> h w", extreme)
    return image


def _steps(gray: np.ndarray) -> np.ndarray:
    """Return the larger step from each pixel to its right or lower neighbor, [T, h, w]."""
    right = np.abs(np.diff(gray, axis=2, append=gray[:, :, -1:]))
    down = np.abs(np.diff(gray, axis=1, append=gray[:, -1:]))
    return np.maximum(right, down)


def _per_cell(mask: np.ndarray) -> np.ndarray:
    """Return the share of each cell of a mask [h, w]; what is left at the borders is left out."""
    height, width = (side // CELL * CELL for side in mask.shape)
    cells = mask[:height, :width].astype(np.float32)
    return reduce(cells, "(h a) (w b) -> h w", "mean", a=CELL, b=CELL)
