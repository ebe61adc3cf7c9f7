"""Reader of videos of a moving shape: color, shape and direction, without learning.

Exact on ground truth (see `tests/unit/nano/test_shape_reader.py`). Unclear videos are read as None,
"undecided", which counts as wrong in every reported accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..world.looks import COLORS

FOREGROUND = 0.22  # minimal distance from the background color, RGB in 0..1
MIN_AREA = 30.0  # pixels
MIN_TRAVEL = 5.0  # pixels between the first and the last frame
MIN_COLOUR_COSINE = 0.93


@dataclass(frozen=True)
class ShapeReading:
    """Attributes read from a video; None if undecided."""

    colour: str | None
    shape: str | None
    direction: str | None


def read_shape_scene(frames: np.ndarray) -> ShapeReading:
    """Read uint8 frames `[T, H, W, 3]` of one shape on a plain background."""
    video = np.asarray(frames, dtype=np.float32) / 255
    border = np.concatenate(
        [video[:, 0], video[:, -1], video[:, :, 0], video[:, :, -1]], axis=1
    )  # [T, 2W + 2H, 3]
    background = np.median(border.reshape(-1, 3), axis=0)
    distance = np.linalg.norm(video - background, axis=-1)  # [T, H, W]
    if distance.max() < FOREGROUND:
        return ShapeReading(None, None, None)
    cover = np.clip(distance / np.percentile(distance[distance > FOREGROUND], 75), 0, 1)
    cover[distance < FOREGROUND / 2] = 0
    colour = _colour(video, cover)
    visible = cover.sum(axis=(1, 2)) > MIN_AREA
    if colour is None or visible.sum() < max(2, len(frames) // 2):
        return ShapeReading(colour, None, None)
    shape = _shape(cover[visible])
    return ShapeReading(colour, shape, _direction(cover[visible], np.flatnonzero(visible)))


def _colour(video: np.ndarray, cover: np.ndarray) -> str | None:
    """Return the palette color nearest in angle to the mean of the fully covered pixels."""
    inside = video[cover > 0.9]
    if not len(inside):
        return None
    mean = inside.mean(axis=0)
    palette = np.array(list(COLORS.values()))
    cosine = palette @ mean / (np.linalg.norm(palette, axis=1) * np.linalg.norm(mean) + 1e-6)
    return list(COLORS)[int(cosine.argmax())] if cosine.max() > MIN_COLOUR_COSINE else None


def _shape(cover: np.ndarray) -> str | None:
    """Classify by the filled share of the bounding box and the sag of the centroid.

    Fill and sag of the ideal shapes: square 1 and 0, circle 0.785 and 0, triangle 0.5 and 1/6.
    """
    measures = [_fill_and_sag(frame) for frame in cover]
    fill, sag = np.median(np.array(measures), axis=0)
    if sag > 0.07 and fill < 0.72:
        return "triangle"
    if abs(sag) < 0.06 and fill > 0.89:
        return "square"
    if abs(sag) < 0.06 and 0.70 < fill <= 0.89:
        return "circle"
    return None


def _fill_and_sag(cover: np.ndarray) -> tuple[float, float]:
    """Return area / bounding box area, and (centroid - box center) / box height."""
    top, bottom = _extent(cover.max(axis=1))
    left, right = _extent(cover.max(axis=0))
    height, width = max(bottom - top, 1.0), max(right - left, 1.0)
    rows = np.arange(len(cover)) + 0.5
    centroid = (cover.sum(axis=1) * rows).sum() / cover.sum()
    return float(cover.sum() / (height * width)), float((centroid - (top + bottom) / 2) / height)


def _extent(profile: np.ndarray) -> tuple[float, float]:
    """Return start and end of a coverage profile, to a fraction of a pixel."""
    inside = np.flatnonzero(profile > 0.5)
    if not len(inside):
        return 0.0, float(len(profile))
    first, last = inside[0], inside[-1]
    before = profile[first - 1] if first > 0 else 0.0
    after = profile[last + 1] if last + 1 < len(profile) else 0.0
    return float(first + 1 - profile[first] - before), float(last + profile[last] + after)


def _direction(cover: np.ndarray, times: np.ndarray) -> str | None:
    """Return the direction of least-squares lines through the centroids at times `[T]`."""
    mass = cover.sum(axis=(1, 2))
    x = (cover.sum(axis=1) * np.arange(cover.shape[2])).sum(axis=1) / mass
    y = (cover.sum(axis=2) * np.arange(cover.shape[1])).sum(axis=1) / mass
    travel = np.array([np.polyfit(times, values, 1)[0] for values in (x, y)])
    travel *= times[-1] - times[0]
    dx, dy = travel
    if max(abs(dx), abs(dy)) < MIN_TRAVEL or min(abs(dx), abs(dy)) > 0.5 * max(abs(dx), abs(dy)):
        return None
    if abs(dx) > abs(dy):
        return "right" if dx > 0 else "left"
    return "down" if dy > 0 else "up"
