"""VBench's prompts by dimension, and the names of the videos."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...files import ASSETS
from .scores import DIMENSIONS

SAMPLES = 5  # videos per prompt
MAX_SAMPLES = 100  # seeds reserved per prompt

# Dimensions without prompts are scored on the videos of another dimension.
SUITE_OF = {name: name for name in DIMENSIONS} | {
    "background_consistency": "scene",
    "motion_smoothness": "subject_consistency",
    "dynamic_degree": "subject_consistency",
    "aesthetic_quality": "overall_consistency",
    "imaging_quality": "overall_consistency",
}


@cache
def read_asset(name: str) -> Any:
    """Read a JSON file of assets/vbench."""
    return json.loads((ASSETS / "vbench" / name).read_text(encoding="utf-8"))


def all_prompts() -> list[str]:
    """Return all 946 prompts in VBench's order; two are in two lists."""
    return [prompt for suite in read_asset("prompts.json")["suites"].values() for prompt in suite]


def prompts_of(dimensions: Iterable[str]) -> list[str]:
    """Return the distinct prompts of `dimensions`, in VBench's order.

    Raises:
        InputError: a dimension does not exist.
    """
    suites = {SUITE_OF[check_dimension(name)] for name in dimensions}
    lists = read_asset("prompts.json")["suites"]
    return list(dict.fromkeys(p for name, suite in lists.items() if name in suites for p in suite))


def check_dimension(name: str) -> str:
    """Return `name`; raise InputError if VBench has no such dimension."""
    if name not in DIMENSIONS:
        raise InputError(f"got dimension {name!r}, expected one of {', '.join(DIMENSIONS)}")
    return name


def video_name(prompt: str, index: int) -> str:
    """Return the file name that VBench expects for video `index` of `prompt`."""
    return f"{prompt}-{index}.mp4"


def _videos(folder: Path, prompt: str, most: int) -> list[str]:
    names = (video_name(prompt, index) for index in range(most))
    return [name for name in names if (folder / name).is_file()]


def videos_of(folder: Path, dimension: str) -> list[Path]:
    """Return the videos that VBench scores for `dimension`: five per prompt.

    For temporal flickering all existing videos, at least one per prompt: VBench recommends sampling
    25 per prompt and keeping the static ones.

    Raises:
        InputError: videos are missing; a score of fewer is not comparable with published ones.
    """
    if dimension == "temporal_flickering":
        found = {p: _videos(folder, p, MAX_SAMPLES) for p in prompts_of([dimension])}
        names = [name for p, some in found.items() for name in some or [video_name(p, 0)]]
    else:
        names = [video_name(p, i) for p in prompts_of([dimension]) for i in range(SAMPLES)]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(names)} videos for {dimension} are not in {folder}, first "
            f"{missing[0]!r}: make them with `hummingbird evaluate vbench export`"
        )
    return [folder / name for name in names]
