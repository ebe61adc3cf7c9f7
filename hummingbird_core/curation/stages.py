"""The stages that measure a clip, and the names of the columns that they can give.

A score stage is a function `(frames uint8 [T,H,W,3], fps) -> columns`. It only adds columns and
never decides what is kept; a threshold that changes later needs none of this again.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import HummingbirdError
from ..files import sha256_of_file
from .camera import CAMERA_COLUMNS, camera_motion
from .duplicates import perceptual_hash
from .overlays import Detector, load_detector, overlay_share
from .table import NUMBER_COLUMNS, TEXT_COLUMNS, VERDICT_COLUMNS

ScoreStage = Callable[[np.ndarray, float], dict[str, Any]]

LEARNED_COLUMNS = ("technical", "aesthetic", "overall")  # of DOVER


def score_stages(dover: str | None, detectors: Iterable[str]) -> list[ScoreStage]:
    """All stages that measure a clip, in order.

    Args:
        dover: file with its weights; None leaves the learned scores out.
        detectors: `module:function` of the user's own stages.

    Raises:
        InputError: there is no such detector.
    """
    from ..vqa import measure

    stages: list[ScoreStage] = [measure, camera_motion, overlay_share, perceptual_hash]
    if dover:
        stages.append(partial(_learned_scores, weights=dover))
    own = (partial(_own_columns, detector=load_detector(name), name=name) for name in detectors)
    return [*stages, *own]


def number_columns(*, learned: bool) -> list[str]:
    """What can be selected by without detectors; `learned`: with DOVER's weights."""
    from ..vqa import Score

    measured = [name for name in Score.__dataclass_fields__ if name not in LEARNED_COLUMNS]
    names = [*NUMBER_COLUMNS, *measured, *CAMERA_COLUMNS, "overlay"]
    return list(dict.fromkeys([*names, *(LEARNED_COLUMNS if learned else ())]))


def fingerprints(dover: str | None, detectors: Iterable[str]) -> list[str]:
    """What changes when the weights, or a file with a detector, become others.

    Raises:
        InputError: there is no such detector.
    """
    files = [dover, *map(_file_of, detectors)]
    return [sha256_of_file(Path(file)) if file else "" for file in files]


def _file_of(detector: str) -> str | None:
    load_detector(detector)
    return getattr(sys.modules[detector.partition(":")[0]], "__file__", None)


def _own_columns(
    frames: np.ndarray, fps: float, detector: Detector, name: str
) -> dict[str, float | None]:
    """What a detector of the user's gives, as numbers that a manifest can hold.

    Raises:
        HummingbirdError: it failed, or gave something else. No InputError: not the video's fault.
    """
    try:
        found = dict(detector(frames, fps))
        return {_own_name(column): _number(value) for column, value in found.items()}
    except Exception as error:
        raise HummingbirdError(
            f"the detector {name} failed: {type(error).__name__}: {error}; it should return a dict "
            "of numbers under names of their own"
        ) from error


def _own_name(column: Any) -> str:
    taken = {*number_columns(learned=True), *TEXT_COLUMNS, *VERDICT_COLUMNS}
    if not isinstance(column, str) or column in taken or " " in column:
        raise ValueError(f"{column!r} is taken, or no name without spaces")
    return column


def _number(value: Any) -> float | None:
    """None for what was not measured, NaN included."""
    if isinstance(value, str | bytes | Mapping):
        raise TypeError(f"{value!r} is no number")
    number = math.nan if value is None else float(value)
    return number if math.isfinite(number) else None


def _learned_scores(frames: np.ndarray, fps: float, weights: str) -> dict[str, float | None]:
    from ..vqa import score_video

    score = score_video(frames, fps, dover=_load_dover(weights))
    return {name: getattr(score, name) for name in LEARNED_COLUMNS}


@cache  # once in each process
def _load_dover(weights: str) -> Any:
    from ..devices import best_device
    from ..vqa import load_dover

    return load_dover(weights, device=best_device())
