"""A histogram of kept and dropped clips as inline SVG."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

import numpy as np

BINS = 40
WIDTH, HEIGHT = 360, 110  # pixels of the bars
MARGIN = 18  # below, for the numbers
KEPT, DROPPED, LIMIT = "#2a7f9e", "#d9a5a0", "#b3261e"


def histogram(name: str, values: np.ndarray, kept: np.ndarray, limits: Iterable[float]) -> str:
    """SVG of stacked bars, with a line at each limit.

    Args:
        name: of the column, for screen readers.
        values: float [N], all finite.
        kept: bool [N].
        limits: where lines go; those outside of the values are left out.
    """
    low, high = float(values.min()), float(values.max())
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
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


def _bar(index: int, bottom: float, top: float, colour: str) -> str:
    if top <= bottom:
        return ""
    step = WIDTH / BINS
    return (
        f'<rect x="{index * step:.1f}" y="{HEIGHT * (1 - top):.1f}" width="{step - 1:.1f}" '
        f'height="{HEIGHT * (top - bottom):.1f}" fill="{colour}"/>'
    )


def _line(place: float) -> str:
    x = place * WIDTH
    return f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{HEIGHT}" stroke="{LIMIT}"/>'


def _number(x: int, anchor: str, value: float) -> str:
    y = HEIGHT + MARGIN - 4
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="11">{value:.4g}</text>'
