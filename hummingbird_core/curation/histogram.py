"""Histograms as SVG that outliers do not squash, with the limits of a rule drawn in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

BINS = 40
WIDTH, HEIGHT = 360, 110  # of the bars, pixels
MARGIN = 18  # below the bars, pixels, for the numbers
KEPT, DROPPED, LIMIT = "#2a7f9e", "#d9a5a0", "#b3261e"
TAIL = 0.01  # share of the values on each side that the outermost bars may hold
REACH = 1.5  # a limit is inside the range if it widens it by this factor at most


def histogram(name: str, values: np.ndarray, kept: np.ndarray, limits: Sequence[float]) -> str:
    """Draw a histogram as SVG: stacked bars, and a line at each limit.

    The outermost bars hold all values beyond. A limit far beyond is drawn at the edge, dashed.

    Args:
        name: name of the column, for screen readers.
        values: float [N], all finite.
        kept: bool [N], whether each clip was kept.
        limits: limits of the rule.

    Returns:
        the SVG element.
    """
    low, high = _range(values, limits)
    edges = np.linspace(low, high, BINS + 1)
    inside = values.clip(low, high)
    all_counts = np.histogram(inside, edges)[0]
    kept_counts = np.histogram(inside[kept], edges)[0]
    tallest = all_counts.max()
    bars = [
        _bar(i, 0, good / tallest, KEPT) + _bar(i, good / tallest, every / tallest, DROPPED)
        for i, (every, good) in enumerate(zip(all_counts, kept_counts, strict=True))
    ]
    lines = [_line((limit - low) / (high - low), limit) for limit in limits]
    below, above = int((values < low).sum()), int((values > high).sum())
    return (
        f'<svg role="img" aria-label="{escape(name)}" width="{WIDTH}" height="{HEIGHT + MARGIN}">'
        f"{''.join([*bars, *lines])}{_number(0, 'start', low, below)}"
        f"{_number(WIDTH, 'end', high, above)}"
        f'<text x="{WIDTH}" y="11" text-anchor="end" font-size="11">{tallest}</text></svg>'
    )


def _range(values: np.ndarray, limits: Iterable[float]) -> tuple[float, float]:
    """Return the range that is drawn: nearly all values, and the limits unless they are far off."""
    low, high = (float(x) for x in np.quantile(values, [TAIL, 1 - TAIL]))
    if high <= low:
        low, high = float(values.min()), float(values.max())
    width = high - low
    near = [x for x in limits if low - REACH * width <= x <= high + REACH * width]
    low, high = min([low, *near]), max([high, *near])
    return low, high if high > low else low + 1


def _bar(index: int, bottom: float, top: float, color: str) -> str:
    if top <= bottom:
        return ""
    step = WIDTH / BINS
    return (
        f'<rect x="{index * step:.1f}" y="{HEIGHT * (1 - top):.1f}" width="{step - 1:.1f}" '
        f'height="{HEIGHT * (top - bottom):.1f}" fill="{color}"/>'
    )


def _line(place: float, limit: float) -> str:
    x = min(max(place, 0.0), 1.0) * WIDTH
    dashes = "" if 0 <= place <= 1 else ' stroke-dasharray="3"'
    anchor, side = ("end", -4) if x > WIDTH / 2 else ("start", 4)
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{HEIGHT}" stroke="{LIMIT}"{dashes}/>'
        f'<text x="{x + side:.1f}" y="24" text-anchor="{anchor}" font-size="11" fill="{LIMIT}">'
        f"limit {limit:.4g}</text>"
    )


def _number(x: int, anchor: str, value: float, beyond: int) -> str:
    y = HEIGHT + MARGIN - 4
    more = f" ({beyond} beyond)" if beyond else ""
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="11">{value:.4g}{more}</text>'
