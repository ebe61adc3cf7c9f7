"""Reader of videos of the synthetic dataset: all that a caption can say, and more.

Deterministic and without learning; exact on drawn clips (tests/unit/nano/test_scene_reader.py).
What is unclear is read as None, "undecided", which counts as wrong in every reported accuracy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..world.looks import Look
from ..world.paths import DIRECTIONS, FRAME_SIZE, pace_limits
from ..world.scene import LARGEST, SMALLEST
from .background import read_background, shrink
from .subjects import Track, find_subjects

MIN_TRAVEL = 3.3  # pixels: a slow second across the frame has 3.75, most of a hover 2.85
MAX_ACROSS = 0.5  # travel along the other axis, against it
MAX_BEND = 1.1  # pixels, deviation of a motion across the frame from a line
MIN_SWING = 1.8  # pixels, amplitude of a motion back and forth
RATES = np.linspace(0.25, 1.4, 24)  # periods a second that are tried
MIN_TURN = 0.35  # radians, change of the angle of a subject that spins
MIN_GROWTH = 0.17  # logarithm of the size at the end of a zoom against the start
CROP = 24  # pixels of the aligned subject in `flicker`


@dataclass(frozen=True)
class SubjectReading:
    """One subject of a video.

    Attributes:
        look: name, color and whether it is mirrored.
        radius: half the side of its bounding square in the middle of the clip, in pixels.
        start: center in the first frame, (x, y) in pixels.
        motion: one of `MOTIONS`, None if undecided.
        speed: pixels a second across the frame, or periods a second.
        distance: share of its difference from the background that its drawing does not explain.
        flicker: mean change of its pixels from frame to frame, aligned; RGB in 0..1. 0 if it turns.
    """

    look: Look
    radius: float
    start: tuple[float, float]
    motion: str | None
    speed: float
    distance: float
    flicker: float

    @property
    def size(self) -> str:
        """Return "small" or "big", the nearer."""
        return "small" if self.radius < (SMALLEST[1] + LARGEST[0]) / 2 else "big"

    @property
    def pace(self) -> str | None:
        """Return "slowly" or "quickly", the nearer; None if the motion is undecided."""
        if self.motion is None:
            return None
        return "slowly" if self.speed < sum(pace_limits(self.motion)) / 2 else "quickly"


@dataclass(frozen=True)
class SceneReading:
    """All that is read from a video.

    Attributes:
        subjects: the one that differs most from the background first; may be none.
        place: one of `PLACES`, "" for a plain background, None if undecided.
        tone: "dark" or "light", of a plain background.
        camera: one of `CAMERA_MOVES`, None if it rests.
        brightness: mean of the background, in 0..1.
    """

    subjects: tuple[SubjectReading, ...]
    place: str | None
    tone: str | None
    camera: str | None
    brightness: float


def read_scene(frames: np.ndarray, fps: float) -> SceneReading:
    """Read uint8 frames `[T, H, W, 3]` of a video of `FRAME_SIZE`.

    Raises:
        ValueError: the frames have another size, or there are fewer than two.
    """
    if frames.shape[1:] != (FRAME_SIZE, FRAME_SIZE, 3) or len(frames) < 2:
        size = "x".join(map(str, frames.shape))
        raise ValueError(f"got frames {size}, expected Tx{FRAME_SIZE}x{FRAME_SIZE}x3, T > 1")
    pixels = torch.from_numpy(frames.astype(np.float32) / 255).permute(0, 3, 1, 2)
    video = shrink(pixels)  # [T, 3, H/2, W/2]
    seconds = torch.arange(len(video), dtype=torch.float32) / fps
    background = read_background(video, seconds)
    tracks = find_subjects(video, background.video)
    subjects = tuple(_read_subject(track, pixels, seconds.numpy()) for track in tracks)
    camera = background.camera
    if background.place:  # hills behind a large subject, or at night, are hardly seen
        camera = _zoom(tracks) or camera
    brightness = float(background.video.mean())
    return SceneReading(subjects, background.place, background.tone, camera, brightness)


def _zoom(tracks: list[Track]) -> str | None:
    """Return "zoom in" or "zoom out" if the subjects change their size."""
    growth = [np.polyfit(np.linspace(0, 1, len(t.radius)), np.log(t.radius), 1)[0] for t in tracks]
    if not growth or min(map(abs, growth)) < MIN_GROWTH:
        return None
    return "zoom in" if growth[0] > 0 else "zoom out"


def _read_subject(track: Track, pixels: Tensor, seconds: np.ndarray) -> SubjectReading:
    motion, speed = read_motion(track, seconds)
    return SubjectReading(
        track.look,
        float(np.median(track.radius)),
        (float(track.x[0]), float(track.y[0])),
        motion,
        speed,
        1 - track.explained,
        0.0 if track.angle is not None else _flicker(track, pixels),
    )


def read_motion(track: Track, seconds: np.ndarray) -> tuple[str | None, float]:
    """Return a motion of `MOTIONS`, None if undecided, and its speed or rate."""
    if track.angle is not None and _turned(track.angle) > MIN_TURN:
        rate = np.polyfit(seconds, np.unwrap(track.angle), 1)[0] / (2 * math.pi)
        return "spin", abs(float(rate))
    lines = [_line(seconds, values) for values in (track.x, track.y)]
    swings = [_swing(seconds, values) for values in (track.x, track.y)]
    for axis, motion in enumerate(("swing", "bob")):
        if _is_swing(swings[axis], lines[axis], np.ptp((track.y, track.x)[axis])):
            return motion, swings[axis].rate
    (dx, _), (dy, _) = lines
    duration = seconds[-1] - seconds[0]
    travel = max(abs(dx), abs(dy)) * duration
    if travel < MIN_TRAVEL:
        is_still = max(np.ptp(track.x), np.ptp(track.y)) < 2 * MIN_TRAVEL
        return ("hover" if is_still else None), 0.0
    if min(abs(dx), abs(dy)) > MAX_ACROSS * max(abs(dx), abs(dy)):
        return None, 0.0
    way = np.sign([dx, 0] if abs(dx) > abs(dy) else [0, dy])
    motion = next(name for name, step in DIRECTIONS.items() if tuple(way) == step)
    return motion, max(abs(dx), abs(dy))


def _turned(angles: np.ndarray) -> float:
    return float(np.abs(np.diff(np.unwrap(angles))).sum())


def _line(seconds: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Return the slope of the best line, and the root mean square distance from it."""
    slope, base = np.polyfit(seconds, values, 1)
    return float(slope), float(np.std(values - slope * seconds - base))


@dataclass(frozen=True)
class _Swing:
    amplitude: float
    rate: float
    error: float


def _swing(seconds: np.ndarray, values: np.ndarray) -> _Swing:
    """Return the best a sin(2 pi r t) + b cos(2 pi r t) + c."""
    fits = []
    for rate in RATES:
        angle = 2 * math.pi * rate * seconds
        terms = np.stack([np.sin(angle), np.cos(angle), np.ones_like(angle)], axis=1)
        found, *_ = np.linalg.lstsq(terms, values, rcond=None)
        error = float(np.std(values - terms @ found))
        fits.append(_Swing(float(np.hypot(*found[:2])), float(rate), error))
    return min(fits, key=lambda fit: fit.error)


def _is_swing(swing: _Swing, line: tuple[float, float], other_travel: float) -> bool:
    bends = line[1] > MAX_BEND and swing.error < 0.6 * line[1]
    return bends and swing.amplitude > MIN_SWING and other_travel < 2 * swing.amplitude


def _flicker(track: Track, pixels: Tensor) -> float:
    """Return the mean change from frame to frame of the subject's pixels, aligned."""
    if len(pixels) < 2:
        return 0.0
    side = torch.linspace(-0.8, 0.8, CROP)
    radius, x, y = (
        torch.from_numpy(v.astype(np.float32))[:, None] for v in (track.radius, track.x, track.y)
    )
    columns = (x + radius.median() * side) / FRAME_SIZE * 2 - 1  # [T, CROP], -1..1
    rows = (y + radius.median() * side) / FRAME_SIZE * 2 - 1
    grid = torch.stack(
        [columns[:, None, :].expand(-1, CROP, -1), rows[:, :, None].expand(-1, -1, CROP)], dim=-1
    )
    crops = F.grid_sample(pixels, grid, align_corners=False, padding_mode="border")
    return float((crops[1:] - crops[:-1]).abs().mean())
