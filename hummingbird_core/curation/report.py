"""The report: one HTML file that works offline, without external scripts or links.

Tables and histograms are part of the page; `report.html` next to this file is its template, whose
script shows, filters and sorts the clips, and previews other limits.
"""

from __future__ import annotations

import base64
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..errors import printable
from ..files import atomic_write
from .histogram import histogram
from .measure import clip_path
from .selection import SelectionConfig, limits_of
from .table import column_values, measured_columns

if TYPE_CHECKING:
    import pyarrow

MAX_FAILURES = 200  # listed here; the manifest has all
MAX_CLIPS = 1000  # with a picture, about 4 kB each; of more, every n-th
MAX_CAPTION = 300  # letters shown
DIGITS = 5  # of a measure in the page
PAGE = Path(__file__).with_suffix(".html")


def write_report(
    path: Path,
    table: pyarrow.Table,
    settings: SelectionConfig,
    clip_folder: Path,
    command: str = "",
) -> None:
    """Write the report of a selection.

    Args:
        path: the HTML file.
        table: the manifest after `select`.
        settings: the rules of the selection.
        clip_folder: folder of the clips and their sample frames.
        command: the command line, shown in the report.
    """
    tables = [*_summary(table), *_dropped(table, settings), *_histograms(table, settings)]
    clips = _shown(table)
    shown = table.take(clips) if clips else table.slice(0, 0)
    page = Template(PAGE.read_text(encoding="utf-8")).substitute(
        run=_run(settings, command),
        tables="".join([*tables, *_failures(table)]),
        note=escape(_note(table, len(clips))),
        data=_script_safe(_data(shown, settings, clip_folder)),
    )
    with atomic_write(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _run(settings: SelectionConfig, command: str) -> str:
    """Return the line about this run: date, version, command and settings."""
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    parts = [now, f"hummingbird {__version__}", printable(command)]
    more = f"duplicate_distance {settings.duplicate_distance}, best_by {settings.best_by}, "
    parts.append(f"{more}clips_per_scene {settings.clips_per_scene}")
    return " &middot; ".join(escape(part) for part in parts if part)


def _note(table: pyarrow.Table, shown: int) -> str:
    clips = len(table) - sum(bool(error) for error in table["error"].to_pylist())
    return f"{shown:,} of {clips:,} clips, evenly chosen." if shown < clips else ""


def _shown(table: pyarrow.Table) -> list[int]:
    """Return the rows of the clips in the gallery."""
    rows = [i for i, error in enumerate(table["error"].to_pylist()) if not error]
    step = max(1, -(-len(rows) // MAX_CLIPS))
    return rows[::step]


def _data(table: pyarrow.Table, settings: SelectionConfig, clip_folder: Path) -> dict[str, Any]:
    """Return what the page's script shows: rules, their limits, and the clips."""
    columns = measured_columns(table)
    limits = {
        name: [_rounded(limit) for limit in limits_of(table, rule, name)]
        for name, rule in settings.rules.items()
    }
    return {
        "columns": columns,
        "rules": [*settings.rules, "duplicate", "scene"],
        "limits": limits,
        "clips": [_clip(row, columns, clip_folder) for row in table.to_pylist()],
    }


def _clip(row: dict[str, Any], columns: list[str], clip_folder: Path) -> dict[str, Any]:
    clip = clip_path(clip_folder, row["id"])
    caption = row["rewritten_caption"] or row["caption"] or ""
    return {
        "id": row["id"],
        "source": printable(row["source"]),
        "start": round(row["start_frame"] / row["fps"], 1) if row["fps"] else 0,
        "caption": printable(caption[:MAX_CAPTION]),
        "by": row["dropped_by"].split(),
        "reason": printable(row["reason"]),
        "file": f"{clip_folder.name}/{clip.parent.name}/{clip.name}",
        "image": _image(clip.with_suffix(".jpg")),
        "values": [_rounded(row[name]) for name in columns],
    }


def _rounded(value: float | None) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{DIGITS}g}")


def _image(path: Path) -> str:
    try:
        return "data:image/jpeg;base64," + base64.b64encode(path.read_bytes()).decode()
    except OSError:  # the clips were moved: report the numbers without images
        return ""


def _script_safe(data: dict[str, Any]) -> str:
    """Return JSON that no caption can end the script element with."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _summary(table: pyarrow.Table) -> Iterator[str]:
    kept = _kept(table)
    failed = [bool(error) for error in table["error"].to_pylist()]
    clips = len(table) - sum(failed)
    seconds = np.nan_to_num(column_values(table, "seconds"))
    yield _table(
        ("", "number", "minutes"),
        [
            ("videos", len(set(table["source"].to_pylist())), ""),
            ("videos that could not be used", sum(failed), ""),
            ("clips", clips, f"{seconds.sum() / 60:.1f}"),
            ("clips kept", int(kept.sum()), f"{seconds[kept].sum() / 60:.1f}"),
            ("clips dropped", clips - int(kept.sum()), f"{seconds[~kept].sum() / 60:.1f}"),
        ],
    )


def _dropped(table: pyarrow.Table, settings: SelectionConfig) -> Iterator[str]:
    """List for each rule the number of clips it dropped, and of those it dropped first."""
    verdicts = [names.split() for names in table["dropped_by"].to_pylist() if names]
    every = Counter(name for names in verdicts for name in names)
    first = Counter(names[0] for names in verdicts)
    rows = [
        (column, *map(_limit, limits_of(table, rule, column)), every[column], first[column])
        for column, rule in settings.rules.items()
    ]
    rows += [(name, "", "", every[name], first[name]) for name in ("duplicate", "scene", "error")]
    yield "<h2>What was dropped, and why</h2>"
    yield _table(("rule", "at least", "at most", "dropped", "by this rule first"), rows)


def _histograms(table: pyarrow.Table, settings: SelectionConfig) -> Iterator[str]:
    yield '<h2>Histograms</h2><p>Blue: kept. Red: dropped. Lines: limits.</p><div class="columns">'
    kept = _kept(table)
    for column in measured_columns(table):
        values = column_values(table, column)
        known = np.isfinite(values)
        if not known.any():
            continue
        limits = (
            limits_of(table, settings.rules[column], column) if column in settings.rules else ()
        )
        drawn = histogram(column, values[known], kept[known], [x for x in limits if x is not None])
        yield f"<figure>{drawn}<figcaption>{escape(column)}</figcaption></figure>"
    yield "</div>"


def _failures(table: pyarrow.Table) -> Iterator[str]:
    pairs = zip(table["source"].to_pylist(), table["error"].to_pylist(), strict=True)
    failed = [(source, error) for source, error in pairs if error]
    if failed:
        yield "<h2>Videos that could not be used</h2>"
        yield _table(("video", "reason"), failed[:MAX_FAILURES])
        if len(failed) > MAX_FAILURES:
            yield f"<p>and {len(failed) - MAX_FAILURES} more: see the manifest</p>"


def _table(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _cell(value: object) -> str:
    kind = ' class="number"' if isinstance(value, int) else ""
    text = f"{value:,}" if isinstance(value, int) else printable(str(value))
    return f"<td{kind}>{escape(text)}</td>"


def _limit(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _kept(table: pyarrow.Table) -> np.ndarray:
    return np.array(table["kept"].to_pylist(), dtype=bool)
