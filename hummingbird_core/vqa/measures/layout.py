"""Measures of what was drawn around or instead of a picture: bars, title cards, pure noise.

All are accumulated over a few frames a second. Shapes: luma `[H, W]` of 0..255.
"""

from __future__ import annotations

import numpy as np

BAR_STEP = 12.0  # of 255: a bar's pixels never leave the color of its corner by more
BAR_PICTURE = 0.02  # share of a bar's row that may do so: ringing of the encoder, specks
BAR_EDGE = 0.7  # share of the pixels of a row of the picture that differ from the bar
BAR_EDGE_ROWS = 6  # rows after a bar within which the picture has to begin: codecs blur the edge
BAR_UNEQUAL, BAR_SLACK = 0.15, 4  # opposite bars may differ by this share, or this number of rows

GROUND_STEP = 8.0  # of 255: pixels this close to the commonest luma are the ground of a card
GROUND_SHARE = 0.7  # of the pixels of a card are its ground
STROKE = 40.0  # of 255: luma step at the edge of a letter
STROKES = 8  # such steps in a row of letters; a shape has two
STROKE_ROWS = 0.03  # share of the rows that cross letters

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
    is_even = abs(first - last) <= max(BAR_SLACK, BAR_UNEQUAL * max(first, last))
    return first + last if min(first, last) and is_even else 0


def _bar(share: np.ndarray) -> int:
    """Return the number of rows of a bar, 0 if there is none.

    Args:
        share: of the pixels of each row that differ from the corner, from the outside in; the
            largest is 1.
    """
    picture = np.flatnonzero(share > BAR_PICTURE)
    width = int(picture[0]) if len(picture) else 0
    is_sharp = width and share[width : width + BAR_EDGE_ROWS].max() >= BAR_EDGE
    return width if is_sharp else 0


def is_title_card(y: np.ndarray) -> bool:
    """Return whether a frame is lettering on a plain ground.

    Most pixels have one luma, and some rows cross far more edges than the outline of a shape has.
    """
    counts = np.bincount(y.astype(np.uint8).ravel(), minlength=256)
    ground = (np.abs(y - counts.argmax()) <= GROUND_STEP).mean()
    if ground < GROUND_SHARE:
        return False
    steps = np.diff(y, axis=1)
    # Letters go up and down by turns, where a blurred edge takes several steps of one direction.
    risen, fallen = (steps > STROKE).sum(axis=1), (steps < -STROKE).sum(axis=1)
    return bool((2 * np.minimum(risen, fallen) >= STROKES).mean() >= STROKE_ROWS)


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
