"""The report: one self-contained HTML file without scripts or external links."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import printable
from ..files import atomic_write
from .measure import clip_path
from .selection import SelectionConfig, limits_of
from .table import WHOLE_COLUMNS, column_values, measured_columns

if TYPE_CHECKING:
    import pyarrow

DECILES = 10
MAX_FAILURES = 200  # listed here; the manifest has all
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 1180px; padding: 0 1em }
table { border-collapse: collapse } td, th { padding: 2px 12px 2px 0; text-align: left }
td.number { text-align: right } .columns { display: flex; flex-wrap: wrap; gap: 24px }
figure { margin: 0 } figcaption { font-size: 12px; color: #555 }
.deciles { display: flex; gap: 6px; flex-wrap: wrap } .dropped img { opacity: .45 }
"""


def write_report(
    path: Path, table: pyarrow.Table, settings: SelectionConfig, clip_folder: Path
) -> None:
    """Write the report of a selection.

    Args:
        path: the HTML file.
        table: the manifest after `select`.
        settings: the rules of the selection.
        clip_folder: folder of the clips and their sample frames.
    """
    parts = [
        *_summary(table),
        *_dropped(table, settings),
        *_histograms(table, settings),
        *_samples(table, settings, clip_folder),
        *_failures(table),
    ]
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Curation report</title>'
        f"<style>{_STYLE}</style><h1>Curation report</h1>{''.join(parts)}</html>\n"
    )
    with atomic_write(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


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


def _samples(table: pyarrow.Table, settings: SelectionConfig, clip_folder: Path) -> Iterator[str]:
    yield "<h2>Sample frames, from the lowest to the highest tenth</h2>"
    ids, kept = table["id"].to_pylist(), _kept(table)
    for column in measured_columns(table):
        values = column_values(table, column)
        known = np.flatnonzero(np.isfinite(values))
        if column in (*WHOLE_COLUMNS, "fps", "seconds") or not len(known):
            continue
        order = known[np.argsort(values[known], kind="stable")]
        places = (np.arange(DECILES) + 0.5) * len(order) / DECILES
        chosen = order[np.unique(places.astype(int))]
        frames = (_frame(clip_path(clip_folder, ids[i]), values[i], bool(kept[i])) for i in chosen)
        yield f'<h3>{escape(column)}</h3><div class="deciles">{"".join(frames)}</div>'


def _frame(clip: Path, value: float, kept: bool) -> str:
    try:
        image = base64.b64encode(clip.with_suffix(".jpg").read_bytes()).decode()
    except OSError:  # the clips were moved: report the numbers without images
        image = ""
    return (
        f'<figure class="{"kept" if kept else "dropped"}"><img height="72" alt="{clip.stem}" '
        f'src="data:image/jpeg;base64,{image}"><figcaption>{value:.4g}</figcaption></figure>'
    )


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


HISTOGRAM_BINS = 40
WIDTH, HEIGHT = 360, 110  # of the bars, pixels
MARGIN = 18  # below the bars, pixels, for the numbers
KEPT, DROPPED, LIMIT = "#2a7f9e", "#d9a5a0", "#b3261e"


def histogram(name: str, values: np.ndarray, kept: np.ndarray, limits: Iterable[float]) -> str:
    """Draw a histogram as SVG: stacked bars, and a line at each limit.

    Args:
        name: name of the column, for screen readers.
        values: float [N], all finite.
        kept: bool [N], whether each clip was kept.
        limits: limits of the rule; those outside the range of the values are not drawn.

    Returns:
        the SVG element.
    """
    low, high = float(values.min()), float(values.max())
    edges = np.linspace(low, high if high > low else low + 1, HISTOGRAM_BINS + 1)
    all_counts = np.histogram(values, edges)[0]
    kept_counts = np.histogram(values[kept], edges)[0]
    tallest = all_counts.max()
    bars = [
        bar
        for i, (every, good) in enumerate(zip(all_counts, kept_counts, strict=True))
        for bar in (
            _bar(i, 0, good / tallest, KEPT),
            _bar(i, good / tallest, every / tallest, DROPPED),
        )
        if bar
    ]
    lines = [
        _line((limit - edges[0]) / (edges[-1] - edges[0]))
        for limit in limits
        if edges[0] <= limit <= edges[-1]
    ]
    return (
        f'<svg role="img" aria-label="{escape(name)}" width="{WIDTH}" height="{HEIGHT + MARGIN}">'
        f"{''.join(bars + lines)}{_number(0, 'start', edges[0])}{_number(WIDTH, 'end', edges[-1])}"
        f'<text x="{WIDTH}" y="11" text-anchor="end" font-size="11">{tallest}</text></svg>'
    )


def _bar(index: int, bottom: float, top: float, color: str) -> str:
    if top <= bottom:
        return ""
    step = WIDTH / HISTOGRAM_BINS
    return (
        f'<rect x="{index * step:.1f}" y="{HEIGHT * (1 - top):.1f}" width="{step - 1:.1f}" '
        f'height="{HEIGHT * (top - bottom):.1f}" fill="{color}"/>'
    )


def _line(place: float) -> str:
    x = place * WIDTH
    return f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{HEIGHT}" stroke="{LIMIT}"/>'


def _number(x: int, anchor: str, value: float) -> str:
    y = HEIGHT + MARGIN - 4
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="11">{value:.4g}</text>'
