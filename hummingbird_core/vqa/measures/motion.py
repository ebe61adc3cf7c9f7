"""Block matching between two thumbnails, without weights.

Thumbnails of the luma (`frames.thumbnail`) make the search fast and insensitive to noise and grain.
Shapes: h x w pixels of a thumbnail, S = 11 x 11 shifts, B overlapping blocks of 8 x 8 pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

SEARCH_RANGE = 5  # largest shift of a block along an axis, pixels of the thumbnail
MATCH_BLOCK = 8  # side of a block, pixels
MATCH_STRIDE = 4  # pixels from block to block: they overlap by half
MIN_TEXTURE_LEVELS = 4.0  # standard deviation, of 255: blocks with less show no motion
EXPLAINED = 0.25  # share of a block's variance that may remain after the best match
STILLNESS = 0.02  # penalty per pixel of motion, relative: prefers the nearest of equal matches


@dataclass(frozen=True)
class BlockMotion:
    """Motion of B overlapping blocks from one thumbnail to another.

    Attributes:
        vectors: `[B, 2]`, (down, right) in pixels of the thumbnail.
        is_textured: `[B]`; vectors of blocks without texture are meaningless.
        is_explained: `[B]`; whether the block was found again, or has no texture to search for.
        brightness_change: `[B]`, change of the mean luma of 0..255 along the motion.
        residual: difference that motion does not explain, as a share of the contrast: 0 for an
            image that only moves or changes its brightness, close to 1 for unrelated images.
    """

    vectors: Tensor
    is_textured: Tensor
    is_explained: Tensor
    brightness_change: Tensor
    residual: float


def block_motion(before: Tensor, after: Tensor) -> BlockMotion:
    """Find the blocks of `before` in `after`, both luma `[1, h, w]` of 0..255, 8 x 8 or larger.

    Full search over all whole-pixel shifts s, then one Lucas-Kanade step to a fraction. The error
    of a match is var(after[x + s] - before[x]) over the block, which ignores changes of brightness.
    """
    difference = _differences(before, after)  # [S, h, w]
    mean, error = _block_statistics(difference)  # [S, B]
    contrast = _block_statistics(before)[1][0]
    best = (error + STILLNESS * _distances() * (1 + contrast)).argmin(0)
    rest = _pick(error, best)
    is_textured = contrast > MIN_TEXTURE_LEVELS**2
    overall = torch.maximum(before.var(correction=0), after.var(correction=0)) + 1
    return BlockMotion(
        vectors=_refined_vectors(before, difference, best),
        is_textured=is_textured,
        is_explained=(rest < EXPLAINED * contrast) | ~is_textured,
        brightness_change=_pick(mean, best),
        residual=float((rest.mean() / overall).sqrt().clamp(max=1)),
    )


def _differences(before: Tensor, after: Tensor) -> Tensor:
    """Return `after` moved by every shift, edges repeated, less `before`: `[S, h, w]`."""
    height, width = after.shape[1:]
    padded = F.pad(after[None], (SEARCH_RANGE,) * 4, mode="replicate")[0, 0]
    windows = padded.unfold(0, height, 1).unfold(1, width, 1)  # [11, 11, h, w], a view
    difference = torch.empty(windows.shape)  # contiguous, so that it flattens without a copy
    return torch.sub(windows, before, out=difference).flatten(0, 1)


@cache
def _distances() -> Tensor:
    """Return the length of each shift, `[S, 1]`."""
    axis = torch.arange(-SEARCH_RANGE, SEARCH_RANGE + 1.0)
    return torch.hypot(axis[:, None], axis[None, :]).reshape(-1, 1)


def _block_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance of the blocks of `[N, h, w]`, `[N, B]` each: E[x^2] - E[x]^2."""
    mean, square = block_means(images), block_means(images * images)
    return mean, (square - mean * mean).clamp(min=0)


def block_means(images: Tensor) -> Tensor:
    """Average the blocks: `[N, h, w] -> [N, B]`.

    Sums of MATCH_STRIDE rows come first, which blocks share; then a matrix product adds columns,
    three times as fast as pooling.
    """
    rows = images.shape[1] // MATCH_STRIDE
    bands = images[:, : rows * MATCH_STRIDE].unflatten(1, (rows, MATCH_STRIDE)).sum(2)
    halves = bands @ _column_weights(images.shape[2])  # [N, rows, blocks in a row]
    return (halves[:, :-1] + halves[:, 1:]).flatten(1)


@cache
def _column_weights(width: int) -> Tensor:
    """Return the weight of each column in the mean of each block of a row, `[w, blocks]`."""
    starts = torch.arange(0, width - MATCH_BLOCK + 1, MATCH_STRIDE)
    offset = torch.arange(width)[:, None] - starts
    return ((offset >= 0) & (offset < MATCH_BLOCK)).float() / MATCH_BLOCK**2


def _pick(values: Tensor, best: Tensor) -> Tensor:
    """Select from `[S, B]` the value at the best shift of each block, `[B]`."""
    return values.gather(0, best[None])[0]


def _refined_vectors(before: Tensor, difference: Tensor, best: Tensor) -> Tensor:
    """Return the best shifts as vectors `[B, 2]`, refined by one Lucas-Kanade step.

    With the gradient g and the difference d of a block, the fraction is -(G + I n)^-1 sum g d,
    G = sum g g^T over its n pixels.
    """
    side = 2 * SEARCH_RANGE + 1
    whole = torch.stack([best // side, best % side], dim=1) - SEARCH_RANGE
    pixels = _block_pixels(before.shape[1], before.shape[2])  # [B, 64]
    d = difference.flatten().take(best[:, None] * before.numel() + pixels)
    d = d - d.mean(1, keepdim=True)
    down, right = (slope.flatten().take(pixels) for slope in _slopes(before[0]))
    size = pixels.shape[1]  # added to the diagonal, it keeps blocks without texture solvable
    aa, bb, ab = (down * down).sum(1) + size, (right * right).sum(1) + size, (down * right).sum(1)
    a, b = -(down * d).sum(1), -(right * d).sum(1)
    fraction = torch.stack([bb * a - ab * b, aa * b - ab * a], dim=1) / (aa * bb - ab * ab)[:, None]
    return whole + fraction.clamp(-0.5, 0.5)


def _slopes(image: Tensor) -> tuple[Tensor, Tensor]:
    """Return the central differences of `[h, w]`, down and right."""
    padded = F.pad(image[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    down = (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2
    return down, (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2


@cache
def _block_pixels(height: int, width: int) -> Tensor:
    """Return the places of the pixels of each block in a flattened image, `[B, 64]`."""
    rows, columns = (
        torch.arange(0, length - MATCH_BLOCK + 1, MATCH_STRIDE)[:, None] + torch.arange(MATCH_BLOCK)
        for length in (height, width)
    )
    places = rows[:, None, :, None] * width + columns[None, :, None, :]  # [rows, columns, 8, 8]
    return places.flatten(0, 1).flatten(1)
