"""Comparison of systems: Markdown table, JSON and radar plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import nan, pi
from pathlib import Path
from typing import Any

from ...errors import printable
from ...reporting import figure_class
from .prompts import read_asset
from .scores import DIMENSIONS, Totals, missing, normalize_score, totals

COLUMN_TITLES = {  # column titles
    "subject_consistency": "subject",
    "background_consistency": "background",
    "temporal_flickering": "flicker",
    "motion_smoothness": "smooth",
    "dynamic_degree": "dynamic",
    "aesthetic_quality": "aesthetic",
    "imaging_quality": "imaging",
    "object_class": "object",
    "multiple_objects": "multiple",
    "human_action": "action",
    "color": "color",
    "spatial_relationship": "spatial",
    "scene": "scene",
    "appearance_style": "appearance",
    "temporal_style": "temporal",
    "overall_consistency": "overall",
}
ABSENT = "-"


@dataclass(frozen=True)
class System:
    """A model with its scores.

    Attributes:
        name: name of the model.
        scores: raw scores, 0..1, of the known dimensions.
        totals: computed from `scores`, or as published.
        source: source of the numbers.
    """

    name: str
    scores: Mapping[str, float]
    totals: Totals
    source: str


def measured(name: str, scores: Mapping[str, float], source: str) -> System:
    """Return a system with the totals of its scores."""
    return System(name, scores, totals(scores), source)


def published() -> list[System]:
    """Return published systems, best total first; some lack scores of single dimensions."""
    return [
        System(
            entry["name"],
            {name: percent / 100 for name, percent in entry["dimensions"].items()},
            Totals(*(_share(entry[part]) for part in ("quality", "semantic", "total"))),
            entry["source"],
        )
        for entry in read_asset("published.json")
    ]


def _share(percent: float | None) -> float | None:
    return None if percent is None else percent / 100


def systems_table(systems: Sequence[System]) -> str:
    """Return a Markdown table in percent: a row per system, best total first, unknown last."""
    titles = [
        "system",
        "total",
        "quality",
        "semantic",
        *(COLUMN_TITLES[name] for name in DIMENSIONS),
    ]
    lines = [_row(titles), _row(["---"] + ["---:"] * (len(titles) - 1))]
    for system in sorted(systems, key=lambda system: -(system.totals.total or 0)):
        parts = (system.totals.total, system.totals.quality, system.totals.semantic)
        cells = (*parts, *(system.scores.get(name) for name in DIMENSIONS))
        lines.append(_row([system.name, *map(percent, cells)]))
    return "\n".join(lines)


def to_lines(system: System) -> list[str]:
    """Return one system as text lines: each dimension raw and normalized, then the totals."""
    lines = [f"{'dimension':24} {'score':>8} {'normalised':>11}"]
    for name, score in system.scores.items():
        lines.append(f"{name:24} {percent(score):>8} {percent(normalize_score(name, score)):>11}")
    for part, value in asdict(system.totals).items():
        lines.append(f"{part:24} {percent(value):>8}")
    if absent := missing(system.scores):
        lines.append(f"no total without {', '.join(absent)}")
    return lines


def to_record(system: System) -> dict[str, Any]:
    """Return a record for a JSON file; scores are 0..1 and unknown totals null."""
    return {
        "name": system.name,
        "source": system.source,
        **asdict(system.totals),
        "dimensions": dict(system.scores),
        "missing": missing(system.scores),
    }


def percent(value: float | None) -> str:
    """Format a score in percent with two decimals, as is usual for VBench."""
    return ABSENT if value is None else f"{100 * value:.2f}"


def _row(cells: Sequence[str]) -> str:
    return f"| {printable(' | '.join(cells))} |"


def draw_radar(path: Path, systems: Sequence[System]) -> None:
    """Write a radar plot of the normalized dimensions, 0 at the center and 1 at the rim.

    The scale is that of the totals. Systems without dimensions are left out; a missing dimension
    leaves a gap in the line.

    Raises:
        MissingPackageError: matplotlib is not installed.
        OutputError: the file cannot be written.
    """
    from ...files import atomic_write

    figure = figure_class()(figsize=(9, 8), layout="constrained")
    axes: Any = figure.add_subplot(projection="polar")  # typed as plain axes
    angles = [2 * pi * i / len(DIMENSIONS) for i in range(len(DIMENSIONS))]
    for system in systems:
        if system.scores:
            values = [_normalized_or_nan(system, name) for name in DIMENSIONS]
            axes.plot([*angles, angles[0]], [*values, values[0]], label=system.name, linewidth=1.5)
    axes.set_xticks(angles, [COLUMN_TITLES[name] for name in DIMENSIONS])
    axes.set_ylim(0, 1)
    axes.set_yticks([0.2, 0.4, 0.6, 0.8])
    axes.set_rlabel_position(180 / len(DIMENSIONS))  # degrees: between the first two axes
    axes.set_title("VBench, each dimension normalised as in the totals", pad=20)
    figure.legend(loc="outside lower center", ncols=3)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _normalized_or_nan(system: System, name: str) -> float:
    score = system.scores.get(name)
    return nan if score is None else normalize_score(name, score)
