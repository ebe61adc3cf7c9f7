"""Quality, semantic and total score from VBench's results.

Each dimension is normalized between two constants, (x - low) / (high - low). Quality and semantic
are weighted means over their dimensions, total = (4 quality + semantic) / 5. Constants and weights
are those of VBench's leaderboard.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import InputError
from ...inputs.json_text import read_json
from ...inputs.text import describe

QUALITY_SHARE, SEMANTIC_SHARE = 4, 1
RESULT_SUFFIX = "_eval_results.json"  # suffix of the files that VBench writes


class Dimension(NamedTuple):
    """Scores mapped to 0 and to 1, and the weight in the mean."""

    low: float = 0.0
    high: float = 1.0
    weight: float = 1.0


QUALITY = {
    "subject_consistency": Dimension(low=0.1462),
    "background_consistency": Dimension(low=0.2615),
    "temporal_flickering": Dimension(low=0.6293),
    "motion_smoothness": Dimension(low=0.706, high=0.9975),
    "dynamic_degree": Dimension(weight=0.5),
    "aesthetic_quality": Dimension(),
    "imaging_quality": Dimension(),
}
SEMANTIC = {
    "object_class": Dimension(),
    "multiple_objects": Dimension(),
    "human_action": Dimension(),
    "color": Dimension(),
    "spatial_relationship": Dimension(),
    "scene": Dimension(high=0.8222),
    "appearance_style": Dimension(low=0.0009, high=0.2855),
    "temporal_style": Dimension(high=0.364),
    "overall_consistency": Dimension(high=0.364),
}
DIMENSIONS = {**QUALITY, **SEMANTIC}


@dataclass(frozen=True)
class Totals:
    """Scores of 0..1; None if a dimension is missing, never a smaller score.

    Attributes:
        quality: from the seven dimensions of `QUALITY`.
        semantic: from the nine of `SEMANTIC`.
        total: from both.
    """

    quality: float | None
    semantic: float | None
    total: float | None


def normalize_score(name: str, score: float) -> float:
    """Return a raw score of dimension `name` on the scale of the totals, 0..1 for most systems."""
    dimension = DIMENSIONS[name]
    return (score - dimension.low) / (dimension.high - dimension.low)


def totals(scores: Mapping[str, float]) -> Totals:
    """Return quality, semantic and total of raw scores, 0..1, by dimension."""
    quality, semantic = (_mean(scores, part) for part in (QUALITY, SEMANTIC))
    if quality is None or semantic is None:
        return Totals(quality, semantic, None)
    weighted = QUALITY_SHARE * quality + SEMANTIC_SHARE * semantic
    return Totals(quality, semantic, weighted / (QUALITY_SHARE + SEMANTIC_SHARE))


def missing(scores: Mapping[str, float]) -> list[str]:
    """Return the dimensions that the total still needs."""
    return [name for name in DIMENSIONS if name not in scores]


def _mean(scores: Mapping[str, float], part: Mapping[str, Dimension]) -> float | None:
    if not part.keys() <= scores.keys():
        return None
    weighted = sum(d.weight * normalize_score(name, scores[name]) for name, d in part.items())
    return weighted / sum(d.weight for d in part.values())


def read_results(path: Path) -> dict[str, float]:
    """Read raw scores, 0..1, by dimension, in the order of `DIMENSIONS`.

    Args:
        path: a file of VBench (`..._eval_results.json`), or a folder of such files.

    Raises:
        InputError: no file is found, one cannot be read, or two hold the same dimension.
    """
    files = sorted(path.glob(f"*{RESULT_SUFFIX}")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"there is no file *{RESULT_SUFFIX} in {path}: run VBench first")
    found: dict[str, float] = {}
    for file in files:
        scores = _read_file(file)
        if twice := found.keys() & scores.keys():
            raise InputError(f"{min(twice)} is in {file} and in another file: keep one of them")
        found |= scores
    return {name: found[name] for name in DIMENSIONS if name in found}


def _read_file(path: Path) -> dict[str, float]:
    content = read_json(path)
    if not isinstance(content, dict) or not content:
        raise InputError(f"{path} holds no results, expected an object of dimensions")
    return {name: _score(path, name, result) for name, result in content.items()}


def _score(path: Path, name: str, result: Any) -> float:
    """Return the score from VBench's `[score, [one entry per video, ...]]` of a dimension."""
    value = result[0] if isinstance(result, list) and result else None
    if name not in DIMENSIONS or isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(
            f"{path} has {name}: {describe(value)}, expected a dimension with its score"
        )
    if not 0 <= value <= 1:  # refuses NaN too
        raise InputError(f"{path} has {name}: {value}, expected 0 to 1: score it again")
    return float(value)


def write_result(folder: Path, dimension: str, videos: Sequence[tuple[Path, float]]) -> Path:
    """Write scores of single videos in VBench's format; return the file."""
    from ...files import atomic_write

    mean = sum(score for _, score in videos) / len(videos)
    entries = [{"video_path": str(path), "video_results": score} for path, score in videos]
    path = folder / f"{dimension}{RESULT_SUFFIX}"
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps({dimension: [mean, entries]}, indent=4), encoding="utf-8")
    return path
