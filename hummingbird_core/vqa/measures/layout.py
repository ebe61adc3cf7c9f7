"""Measures of what was drawn around or instead of a picture: bars, title cards, pure noise.

All are accumulated over a few frames a second. Shapes: luma `[H, W]` of 0..255.
"""

from __future__ import annotations

import numpy as np

BAR_STEP = 12.0  # of 255: a bar's pixels never leave the color of its corner by more
BAR_PICTURE = 0.02  # share of a bar's row that may do so: ringing of the encoder, specks
BAR_EDGE = 0.7  # share of the pixels of a row of the picture that differ from the bar
# Rows after a bar within which the picture has to begin, because codecs blur the edge: share of all
# rows, and limits.
BAR_EDGE_ROWS, BAR_EDGE_LIMITS = 1 / 32, (2, 6)
BAR_UNEQUAL, BAR_SLACK = 0.15, 1 / 60  # opposite bars may differ by this share of a bar, or of rows

GROUND_STEP = 8.0  # of 255: pixels this close to the commonest luma are the ground of a card
GROUND_SHARE = 0.7  # of the pixels of a card are its ground
MIN_INK = 40.0  # of 255: contrast of letters to their ground
# Of the largest contrast: a stroke exceeds the first, and between strokes it is below the second.
INK, GAP = 0.5, 0.25
STROKES = 4  # in a row of letters; the outline of a shape is one
STROKE_ROWS = 0.05  # share of the rows that cross letters

NOISE_SHIFT = 64  # pixels this part of a side apart are compared; at least two apart


class LayoutSeries:
    """Accumulates the measures frame by frame; `results` returns them."""

    def __init__(self) -> None:
        self._change: np.ndarray | None = None  # largest distance from the corner's color so far
        self._last: np.ndarray | None = None
        self._cards: list[bool] = []
        self._noises: list[float] = []

    def add(self, y: np.ndarray) -> None:
        """Add a frame that is neither black nor flat, as luma `[H, W]`."""
        change = np.abs(y - np.median(y[:2, :2]))
        self._change = change if self._change is None else np.maximum(self._change, change)
        self._cards.append(is_title_card(y))
        self._noises.append(noise(y, self._last))
        self._last = y

    def results(self) -> dict[str, float]:
        """Return the measures, {} if no frame shows anything."""
        if self._change is None:
            return {}
        return {
            "noise": float(np.median(self._noises)),
            "bars": bars(self._change),
            "title_fraction": float(np.mean(self._cards)),
        }


def bars(change: np.ndarray) -> float:
    """Return the share of the picture, 0 to 1, that bars of one color cover.

    Bars lie on two opposite sides, are equally wide, end in a straight edge and never change.

    Args:
        change: largest distance of each pixel from the corner's color, over the video, `[H, W]`.
    """
    outside = change > BAR_STEP
    shares = [outside.mean(axis=1), outside.mean(axis=0)]  # of the pixels of a row, of a column
    widths = [_bar_widths(share / max(share.max(), 1e-9)) for share in shares]
    is_window = all(widths)
    inside = 1.0
    for share, width in zip(shares, widths, strict=True):
        # The picture fills the rows between bars, unless there are bars on all sides.
        if is_window or share.max() >= BAR_EDGE:
            inside *= 1 - width / len(share)
    return 1 - inside


def _bar_widths(share: np.ndarray) -> int:
    """Return the summed width of two opposite bars of equal width, 0 if there are none."""
    first, last = _bar(share), _bar(share[::-1])
    slack = max(BAR_SLACK * len(share), BAR_UNEQUAL * max(first, last))
    is_even = abs(first - last) <= max(1, round(slack))
    return first + last if min(first, last) and is_even else 0


def _bar(share: np.ndarray) -> int:
    """Return the number of rows of a bar, 0 if there is none.

    Args:
        share: of the pixels of each row that differ from the corner, from the outside in; the
            largest is 1.
    """
    picture = np.flatnonzero(share > BAR_PICTURE)
    width = int(picture[0]) if len(picture) else 0
    edge = int(np.clip(round(BAR_EDGE_ROWS * len(share)), *BAR_EDGE_LIMITS))
    is_sharp = width and share[width : width + edge].max() >= BAR_EDGE
    return width if is_sharp else 0


def is_title_card(y: np.ndarray) -> bool:
    """Return whether a frame is lettering on a plain ground.

    Most pixels have one luma, and some rows cross several strokes with that ground between them.
    What a shape shows inside does not return to the ground, so a detailed one counts as one stroke
    at any size of the picture.
    """
    counts = np.bincount(y.astype(np.uint8).ravel(), minlength=256)
    contrast = np.abs(y - counts.argmax())
    ink = float(contrast.max())
    if ink < MIN_INK or (contrast <= GROUND_STEP).mean() < GROUND_SHARE:
        return False
    strokes = _strokes(contrast > INK * ink, contrast < GAP * ink)
    return bool((strokes >= STROKES).mean() >= STROKE_ROWS)


def _strokes(is_ink: np.ndarray, is_ground: np.ndarray) -> np.ndarray:
    """Return the number of runs of ink in each row that ground separates, [H].

    Args:
        is_ink: [H, W].
        is_ground: [H, W]; pixels of neither are the edge of a letter.
    """
    levels = np.pad(is_ink.astype(np.int8) - is_ground, ((0, 0), (1, 0)), constant_values=-1)
    places = np.flatnonzero(levels)
    begins = np.diff(levels.ravel()[places]) == 2  # from ground, -1, to ink, 1
    return np.bincount(places[1:][begins] // levels.shape[1], minlength=len(levels))


def noise(y: np.ndarray, last: np.ndarray | None) -> float:
    """Return how much a frame resembles pure noise: 1 - the largest of its correlations, 0 to 1.

    A picture correlates with itself a few pixels further on, even if it is noisy; a still pattern
    correlates with an earlier frame; noise does neither, however an encoder has blurred it.

    Args:
        y: luma `[H, W]`.
        last: an earlier frame of that size, None for the first.
    """
    height, width = y.shape
    down, right = max(2, height // NOISE_SHIFT), max(2, width // NOISE_SHIFT)
    pairs = [(y[down:], y[:-down]), (y[:, right:], y[:, :-right])]
    if last is not None:
        pairs.append((y, last))
    return 1 - max(0.0, *(_correlation(a, b) for a, b in pairs))


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    if a.size < 2:  # a strip of a few pixels
        return 1.0
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a * a).mean() * (b * b).mean()))
    return float((a * b).mean()) / scale if scale > 1e-6 else 1.0
