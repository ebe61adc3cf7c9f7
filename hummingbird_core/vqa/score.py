"""The score of a video: weight-free measures, and learned scores if weights are given."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..video.reader import open_video
from .dover import DEFAULT_SEED

if TYPE_CHECKING:
    from .dover.model import DOVER, DOVERScore


@dataclass(frozen=True)
class Score:
    """Measures of a video's quality; an unknown value is None, never 0.

    `technical`, `aesthetic` and `overall` are DOVER's scores, 0..100, higher is better, None
    without its weights. `measure` documents the others and when they are None.
    """

    technical: float | None = None
    aesthetic: float | None = None
    overall: float | None = None
    num_frames: float | None = None
    nan_fraction: float | None = None
    black_fraction: float | None = None
    flat_fraction: float | None = None
    brightness: float | None = None
    contrast: float | None = None
    dark_clipped: float | None = None
    bright_clipped: float | None = None
    blur: float | None = None
    blockiness: float | None = None
    noise: float | None = None
    bars: float | None = None
    title_fraction: float | None = None
    frozen_fraction: float | None = None
    longest_freeze: float | None = None
    repeated_fraction: float | None = None
    static_fraction: float | None = None
    motion: float | None = None
    motion_smoothness: float | None = None
    flicker: float | None = None
    cuts: float | None = None

    def to_dict(self) -> dict[str, float]:
        """Return the known values by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def score_video(
    frames: Any, fps: float = 8.0, *, dover: DOVER | None = None, seed: int | None = DEFAULT_SEED
) -> Score:
    """Score a video in memory.

    Args:
        frames: `[T, H, W, 3]`, uint8 or floats of 0..1; a NumPy array or a tensor.
        fps: frames per second.
        dover: the model of `load_dover`; without it the learned scores are None.
        seed: seed of DOVER's fragments; None draws new ones in each call, as in the original.

    Raises:
        InputError: `frames` is not a video.
    """
    from .measures import measure  # loads torch

    video = np.asarray(frames)
    if video.ndim != 4:
        raise InputError(f"got frames of shape {list(video.shape)}, expected [T,H,W,3]")
    measures = measure(video, fps)
    learned = dover.score(map(_as_uint8, video), len(video), seed) if dover else None
    return _score(measures, learned)


def score_file(
    path: str | Path, *, dover: DOVER | None = None, seed: int | None = DEFAULT_SEED
) -> Score:
    """Score a video file of any length, in the memory of a few frames.

    The file is decoded once, and again for DOVER, which needs the length first.

    Args:
        path: the video file.
        dover: the model of `load_dover`; without it the learned scores are None.
        seed: seed of DOVER's fragments, see `score_video`.

    Raises:
        InputError: the file is not a readable video.
    """
    from .measures import measure  # loads torch

    with open_video(path) as video:
        measures = measure(video.frames, video.fps)
    if dover is None:
        return _score(measures, None)
    with open_video(path) as video:
        return _score(measures, dover.score(video.frames, int(measures["num_frames"]), seed))


def _score(measures: dict[str, float], learned: DOVERScore | None) -> Score:
    return Score(**measures, **({} if learned is None else learned._asdict()))


def _as_uint8(frame: np.ndarray) -> np.ndarray:
    if frame.dtype == np.uint8:
        return frame
    return (np.nan_to_num(frame, posinf=1, neginf=0).clip(0, 1) * 255).round().astype(np.uint8)
