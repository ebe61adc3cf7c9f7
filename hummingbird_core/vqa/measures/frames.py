"""Measures of single frames, without weights.

Luma Y is that of BT.601, `0.299 R + 0.587 G + 0.114 B`, in 0..255. Published measures name their
source; the others are shares of pixels. Shapes: H x W pixels of a frame, h x w of its thumbnail.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from .layout import LayoutSeries

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601
BLACK_LEVEL = 25.5  # of 255: darker pixels are black, as in ffmpeg's blackdetect
BLACK_SHARE = 0.98  # of the pixels of a black frame, as in ffmpeg's blackdetect
FLAT_DEVIATION = 2.0  # of 255, in every channel: below, a frame has a single color
CLIPPED = (5.0, 250.0)  # of 255: luma beyond these shows no detail
CODING_BLOCK = 8  # pixels of a coding block of JPEG, MPEG and H.264
THUMBNAIL = 64  # pixels of the longer side
MIN_THUMBNAIL = 8  # pixels of the shorter side: one block of the motion search
HISTOGRAM_SIDE = 128  # subsampled pixels along the shorter side of a frame
MIN_BLOCKS = 8  # along an axis; with fewer, edges of the scene resemble block edges
BLOCK_FLOOR = 1.0  # of 255: a weaker difference is invisible, above all in a plain sky
BLUR_FILTER = 9  # pixels of the averaging filter (Crete et al., section 2)


def luma(frame: np.ndarray) -> np.ndarray:
    """Convert `[H, W, 3]` of 0..255 to luma, float32 `[H, W]`."""
    return frame.astype(np.float32) @ LUMA


def is_black(y: np.ndarray) -> bool:
    """Return whether 98 % of the luma `[H, W]` is below 10 % of white (ffmpeg's blackdetect)."""
    return _share(y < BLACK_LEVEL) >= BLACK_SHARE


def is_flat(frame: np.ndarray) -> bool:
    """Return whether a frame `[H, W, 3]` has one color: every standard deviation below 2 of 255."""
    return bool(frame.std(axis=(0, 1), dtype=np.float32).max() < FLAT_DEVIATION)


def _share(mask: np.ndarray) -> float:
    """Return the share of pixels that are true, many times as fast as `mask.mean()`."""
    return np.count_nonzero(mask) / mask.size


def blur(y: np.ndarray) -> float | None:
    """Return the blur of luma `[H, W]`: 0 sharp, 1 blurred (Crete et al., "The blur effect", 2007).

    A blurred image changes little when it is blurred again. With D the absolute difference of
    neighboring pixels and D' the same after a 9-pixel average, the blur along one axis is
    `1 - sum max(0, D - D') / sum D`; the worse axis counts. Of an average, D' is the difference of
    the pixel that enters and the one that leaves, over 9. None for an image without detail or
    smaller than the filter.
    """
    found = [_blur_along(y, axis) for axis in (0, 1)]
    return max((value for value in found if value is not None), default=None)


def _blur_along(y: np.ndarray, axis: int) -> float | None:
    length = y.shape[axis]
    if length <= BLUR_FILTER:
        return None
    y = np.moveaxis(y, axis, 0)
    half = BLUR_FILTER // 2
    sharp = np.abs(np.diff(y[half:-half], axis=0))
    smooth = np.abs(y[BLUR_FILTER:] - y[:-BLUR_FILTER]) / BLUR_FILTER
    lost = np.maximum(0, sharp - smooth)
    total = float(sharp.sum())
    return 1 - float(lost.sum()) / total if total > sharp.size * 1e-3 else None


def blockiness(y: np.ndarray) -> float | None:
    """Return how visible the edges of 8 x 8 coding blocks are: 0 invisible, no upper limit.

    After Wang, Sheikh & Bovik 2002: the mean absolute difference of neighbors is computed for each
    of the 8 offsets in a block, so that a crop does not hide the grid, as the median over the
    blocks, so that single edges of the scene do not count. A grid makes one offset stand out:
    `(largest - second largest) / (median + 0.1)` of the 8; the smaller of both axes.

    Args:
        y: luma `[H, W]`.

    Returns:
        None for an image of at most 8 blocks along an axis.
    """
    if min(y.shape) <= MIN_BLOCKS * CODING_BLOCK:
        return None
    return min(_blockiness_along(y, axis) for axis in (0, 1))


def _blockiness_along(y: np.ndarray, axis: int) -> float:
    steps = np.abs(np.diff(y, axis=axis)).mean(axis=1 - axis)
    count = len(steps) // CODING_BLOCK
    # [count 8] -> [count, 8] -> [8], one value for each offset in a block
    places = np.sort(np.median(steps[: count * CODING_BLOCK].reshape(count, CODING_BLOCK), axis=0))
    return float((places[-1] - places[-2]) / (np.median(places) + BLOCK_FLOOR))


def contrast(frame: np.ndarray) -> float:
    """Return the standard deviation of the colors of `[H, W, 3]` from their mean, 0..127.5.

    The channels' variances are weighted as in luma, so that it is the luma's deviation where the
    picture is gray. A red shape on a dark ground has little contrast in its luma alone. In large
    frames every n-th pixel is looked at.
    """
    step = max(1, min(frame.shape[:2]) // THUMBNAIL)
    pixels = frame[::step, ::step].reshape(-1, 3).astype(np.float32)
    return float(np.sqrt(pixels.var(axis=0) @ LUMA))


def thumbnail(frame: np.ndarray) -> torch.Tensor:
    """Area-average a frame `[H, W, 3]` to `[3, h, w]`, at most 64 pixels along the longer side."""
    height, width = frame.shape[:2]
    scale = min(1.0, THUMBNAIL / max(height, width))
    rows, columns = (max(MIN_THUMBNAIL, round(length * scale)) for length in (height, width))
    channels = np.ascontiguousarray(frame.transpose(2, 0, 1), dtype=np.float32)
    return F.adaptive_avg_pool2d(torch.from_numpy(channels), (rows, columns))


def color_histogram(frame: np.ndarray) -> np.ndarray:
    """Return the shares of 4 x 4 x 4 colors in a frame `[H, W, 3]` of 0..255: `[64]`, sum 1."""
    step = max(1, min(frame.shape[:2]) // HISTOGRAM_SIDE)
    bins = frame[::step, ::step].astype(np.uint8) >> 6
    codes = bins[..., 0] << 4 | bins[..., 1] << 2 | bins[..., 2]
    return np.bincount(codes.ravel(), minlength=64) / codes.size


LOOKS_PER_SECOND = 4  # of blur, blockiness and layout, which cost most and change slowly


class FrameSeries:
    """Accumulates measures frame by frame; `results` returns their means and medians."""

    def __init__(self, fps: float):
        self._every = max(1, round(fps / LOOKS_PER_SECOND))
        self._count = 0
        self._sums: dict[str, float] = {}
        self._looks: dict[str, list[float]] = {"blur": [], "blockiness": []}
        self._layout = LayoutSeries()

    def add(self, frame: np.ndarray, y: np.ndarray, not_finite: float) -> bool:
        """Add a frame and return whether it shows anything, being neither black nor flat.

        Args:
            frame: `[H, W, 3]` of 0..255.
            y: its luma `[H, W]`.
            not_finite: share of its values that were NaN or infinite.
        """
        black, deviation = is_black(y), float(y.std())
        # If the luma varies, so does some channel.
        flat = not black and deviation < FLAT_DEVIATION and is_flat(frame)
        self._add("nan_fraction", not_finite)
        self._add("black_fraction", black)
        self._add("flat_fraction", flat)
        self._add("brightness", y.mean() / 255)
        self._add("contrast", contrast(frame) / 255)
        self._add("dark_clipped", _share(y <= CLIPPED[0]))
        self._add("bright_clipped", _share(y >= CLIPPED[1]))
        is_blank = black or flat
        if self._count % self._every == 0 and not is_blank:
            for name, value in (("blur", blur(y)), ("blockiness", blockiness(y))):
                if value is not None:
                    self._looks[name].append(value)
            self._layout.add(y)
        self._count += 1
        return not is_blank

    def _add(self, name: str, value: float) -> None:
        self._sums[name] = self._sums.get(name, 0.0) + float(value)

    def results(self) -> dict[str, float]:
        """Return `num_frames`, the means, and the medians of the sampled measures if known."""
        means = {name: total / self._count for name, total in self._sums.items()}
        medians = {name: float(np.median(found)) for name, found in self._looks.items() if found}
        return {"num_frames": float(self._count), **means, **medians, **self._layout.results()}
