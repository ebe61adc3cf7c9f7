"""Systems side by side: a Markdown table, JSON, and a radar plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import nan, pi
from pathlib import Path
from typing import Any

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
        name: of the model.
        scores: raw, 0..1, by dimension; what is not known is not there.
        totals: computed from `scores`, or as published.
        source: where the numbers are from.
    """

    name: str
    scores: Mapping[str, float]
    totals: Totals
    source: str


def measured(name: str, scores: Mapping[str, float], source: str) -> System:
    """A system with the totals of its scores."""
    return System(name, scores, totals(scores), source)


def published() -> list[System]:
    """What others have published, best total first; some without their single dimensions."""
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
    """A Markdown table in percent, a row a system, best total first and unknown totals last."""
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
    """One system for people: each dimension raw and normalised, then the totals."""
    lines = [f"{'dimension':24} {'score':>8} {'normalised':>11}"]
    for name, score in system.scores.items():
        lines.append(f"{name:24} {percent(score):>8} {percent(normalize_score(name, score)):>11}")
    for part, value in asdict(system.totals).items():
        lines.append(f"{part:24} {percent(value):>8}")
    if absent := missing(system.scores):
        lines.append(f"no total without {', '.join(absent)}")
    return lines


def to_record(system: System) -> dict[str, Any]:
    """For a JSON file; scores are 0..1 and unknown totals null."""
    return {
        "name": system.name,
        "source": system.source,
        **asdict(system.totals),
        "dimensions": dict(system.scores),
        "missing": missing(system.scores),
    }


def percent(value: float | None) -> str:
    """Two decimals, as everyone prints VBench."""
    return ABSENT if value is None else f"{100 * value:.2f}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def draw_radar(path: Path, systems: Sequence[System]) -> None:
    """Writes a plot of the normalised dimensions, 0 in the middle and 1 outside.

    The scale is that of the totals. Systems without any dimension are left out; a dimension that
    one system lacks is a gap in its line.

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
            values = [_normalised_or_nan(system, name) for name in DIMENSIONS]
            axes.plot([*angles, angles[0]], [*values, values[0]], label=system.name, linewidth=1.5)
    axes.set_xticks(angles, [COLUMN_TITLES[name] for name in DIMENSIONS])
    axes.set_ylim(0, 1)
    axes.set_yticks([0.2, 0.4, 0.6, 0.8])
    axes.set_rlabel_position(180 / len(DIMENSIONS))  # degrees: between the first two axes
    axes.set_title("VBench, each dimension normalised as in the totals", pad=20)
    figure.legend(loc="outside lower center", ncols=3)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _normalised_or_nan(system: System, name: str) -> float:
    score = system.scores.get(name)
    return nan if score is None else normalize_score(name, score)
