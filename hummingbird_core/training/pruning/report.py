"""Markdown table and plot of a ranking of blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...files import atomic_write
from ...reporting import figure_class
from .analysis import Ranking, RemovalCost
from .block_removal import Removal
from .metrics import NANO_ACCURACY

KIND_COLORS = {"pair": "#2a7f9e", "bypass": "#d98e2b", "level": "#b3261e", "lowest": "#7b4fa3"}
RANKED = tuple(KIND_COLORS)
ROW_HEIGHT = 0.24  # inches


def ranking_title(settings: Mapping[str, Any]) -> str:
    """Return a sentence that describes the measurement."""
    timesteps = ", ".join(map(str, settings["timesteps"]))
    text = (
        f"{settings['teacher']}: {settings['clips']} clips of {settings['frames']} frames at "
        f"t = {timesteps}"
    )
    if settings["metric"] == NANO_ACCURACY:
        text += (
            f"; score: share of what {settings['prompts']} held-out prompts say that the videos "
            f"show, {settings['steps']} steps, guidance {settings['guidance']:g}"
        )
    elif settings["metric"] != "none":
        text += f"; score: {settings['metric']}"
    return text


def ranking_table(ranking: Ranking, maps: dict[str, Removal]) -> str:
    """Return a Markdown table: removals by loss, then the whole teacher and whole students.

    Args:
        ranking: the measurements.
        maps: removals by the name of the student.
    """
    header = ("taken out", "how", "parameters saved", "loss", "noise loss", "score")
    lines = [" | ".join(header), "|".join(["---"] * len(header))]
    lines += [
        " | ".join(_cells(row, short_block_names(row.blocks))) for row in ranking.of_kind(*RANKED)
    ]
    whole = ranking.row(Removal("teacher", ()))
    students = [(name, ranking.row(removal)) for name, removal in maps.items()]
    for name, row in [("nothing", whole), *students]:
        lines.append(" | ".join(_cells(row, name)))
    return "\n".join(f"| {line} |" for line in lines)


def short_block_names(blocks: tuple[str, ...]) -> str:
    """Return `in 5, out 7` for `input_blocks.5` and `output_blocks.7`."""
    names = {"input_blocks": "in", "output_blocks": "out", "middle_block": "middle"}
    parts = (block.split(".") for block in blocks)
    return ", ".join(" ".join([names[way], *number]) for way, *number in parts)


def write_plot(path: Path, ranking: Ranking, ranking_title: str) -> None:
    """Write a PNG with bars of the loss and, if measured, of the score.

    Raises:
        MissingPackageError: matplotlib is not installed.
        OutputError: the file cannot be written.
    """
    rows = ranking.of_kind(*RANKED)
    whole = ranking.row(Removal("teacher", ()))
    scored = whole.score is not None
    figure = figure_class()(figsize=(11 if scored else 7, 1.2 + ROW_HEIGHT * len(rows)))
    axes = figure.subplots(1, 2 if scored else 1, sharey=True, squeeze=False)[0]
    _bars(axes[0], rows, [row.loss for row in rows], "loss against the teacher")
    axes[0].set_yticks(
        range(len(rows)), [short_block_names(row.blocks) for row in rows], fontsize=8
    )
    axes[0].set_xscale("log")
    axes[0].invert_yaxis()
    axes[0].legend(handles=list(_legend(rows)), loc="lower right")
    if scored:
        _bars(axes[1], rows, [row.score or 0.0 for row in rows], "score")
        axes[1].axvline(whole.score, color="black", linestyle=":", label="whole teacher")
        axes[1].legend(loc="lower left")
    figure.suptitle(ranking_title)
    figure.tight_layout()
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _cells(row: RemovalCost, name: str) -> Iterator[str]:
    yield name
    yield row.kind
    yield f"{row.parameters:,}"
    yield f"{row.loss:.4g}"
    yield f"{row.noise_loss:.4g}"
    yield "" if row.score is None else f"{row.score:.3f}"


def _bars(axis, rows: list[RemovalCost], values: list[float], label: str) -> None:
    axis.barh(range(len(rows)), values, color=[KIND_COLORS[row.kind] for row in rows])
    axis.set_xlabel(label)


def _legend(rows: list[RemovalCost]) -> Iterator:
    from matplotlib.patches import Patch

    for kind in RANKED:
        if any(row.kind == kind for row in rows):
            yield Patch(color=KIND_COLORS[kind], label=kind)
