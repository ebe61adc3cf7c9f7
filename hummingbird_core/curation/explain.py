"""Answers about a selection: why a clip was kept or dropped, and what other rules would keep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, printable
from .selection import SelectionConfig, limits_of, select
from .selection_file import read_selection
from .table import measured_columns

if TYPE_CHECKING:
    import numpy as np
    import pyarrow

MAX_CLIPS = 20  # explained at once
MAX_EXAMPLES = 5  # clips named for each rule
Limits = tuple[float | None, float | None]


def explain(
    table: pyarrow.Table, settings: SelectionConfig, name: str, vectors: np.ndarray | None = None
) -> list[str]:
    """Return lines that list the measures of a clip with the limits of its rules.

    Args:
        table: the manifest.
        settings: the rules.
        name: id of a clip, or name of a video, all of whose clips are explained.
        vectors: embeddings of the clips `[N, D]`, if the settings need them.

    Raises:
        InputError: there is no such clip.
    """
    table = select(table, settings, vectors)
    chosen = [row for row in table.to_pylist() if _is_called(row, name)]
    if not chosen:
        raise InputError(
            f"got {name!r}, expected the id of a clip or the name of a video in this manifest: "
            "report.html lists them"
        )
    limits = {column: limits_of(table, rule, column) for column, rule in settings.rules.items()}
    columns = measured_columns(table)
    lines = [line for row in chosen[:MAX_CLIPS] for line in _about(row, limits, columns)]
    left = len(chosen) - MAX_CLIPS
    return [*lines, *([f"and {left} more clips: name one by its id"] if left > 0 else [])]


def _is_called(row: dict[str, Any], name: str) -> bool:
    return name in (row["id"], row["source"], Path(row["source"]).name)


def _about(row: dict[str, Any], limits: dict[str, Limits], columns: list[str]) -> Iterator[str]:
    if row["error"]:
        yield printable(f"{row['source']}: could not be used: {row['error']}")
        return
    start = row["start_frame"] / row["fps"] if row["fps"] else 0.0
    verdict = "kept" if row["kept"] else f"dropped: {row['reason']}"
    yield printable(f"{row['id']}: {row['source']} from {start:.1f} s: {verdict}")
    yield printable(f"  caption: {row['rewritten_caption'] or row['caption'] or 'none'}")
    if row.get("absent"):
        yield printable(f"  absent: {row['absent']}")
    for column in [*limits, *(name for name in columns if name not in limits)]:
        yield _measure_line(column, row.get(column), limits.get(column))


def _measure_line(column: str, value: float | None, limits: Limits | None) -> str:
    shown = "not measured" if value is None else f"{value:.4g}"
    if limits is None:
        return f"  {column:20} {shown:>14}"
    least, greatest = limits
    wanted = [f"at least {least:.4g}"] if least is not None else []
    wanted += [f"at most {greatest:.4g}"] if greatest is not None else []
    is_low = value is not None and least is not None and value < least
    is_high = value is not None and greatest is not None and value > greatest
    mark = "  <- dropped" if is_low or is_high else ""
    return f"  {column:20} {shown:>14}  {' and '.join(wanted)}{mark}"


def preview(
    table: pyarrow.Table, settings: SelectionConfig, last: Path, vectors: np.ndarray | None = None
) -> list[str]:
    """Return lines that compare a selection with the last one, without writing anything.

    Args:
        table: the manifest.
        settings: the rules to try.
        last: file of the rules of the last selection.
        vectors: embeddings of the clips `[N, D]`, if either selection needs them.

    Raises:
        InputError: that file is missing, or a rule does not fit the manifest.
    """
    before = select(table, read_selection(last), vectors)
    after = select(table, settings, vectors)
    was, now = before["kept"].to_pylist(), after["kept"].to_pylist()
    ids, dropped_by = after["id"].to_pylist(), after["dropped_by"].to_pylist()
    lines = [f"kept: {sum(was)}, with these rules: {sum(now)}"]
    lost = [i for i in range(len(ids)) if was[i] and not now[i]]
    counts = Counter(dropped_by[i].split()[0] for i in lost)
    for rule, count in counts.most_common():
        examples = [ids[i] for i in lost if dropped_by[i].split()[0] == rule][:MAX_EXAMPLES]
        lines.append(f"newly dropped by {rule}: {count} ({_list(examples, count)})")
    gained = [ids[i] for i in range(len(ids)) if now[i] and not was[i]]
    if gained:
        lines.append(f"newly kept: {len(gained)} ({_list(gained[:MAX_EXAMPLES], len(gained))})")
    return lines


def _list(names: list[str], count: int) -> str:
    return ", ".join([*names, *(["..."] if count > len(names) else [])])
