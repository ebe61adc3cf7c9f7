"""Block matching between two thumbnails, without weights.

Thumbnails of the luma (`frames.thumbnail`) make the search fast and insensitive to noise and grain.
Shapes: h x w pixels of a thumbnail, S = 11 x 11 shifts, B overlapping blocks of 8 x 8 pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    difference = _shifted(after) - before  # [S, h, w]
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


def _shifted(image: Tensor) -> Tensor:
    """Return `image` `[1, h, w]` moved by every shift, `[S, h, w]`, edges repeated."""
    height, width = image.shape[1:]
    padded = F.pad(image[None], (SEARCH_RANGE,) * 4, mode="replicate")[0, 0]
    windows = padded.unfold(0, height, 1).unfold(1, width, 1)  # [11, 11, h, w]
    return windows.reshape(-1, height, width)  # [S, h, w]


def _distances() -> Tensor:
    """Return the length of each shift, `[S, 1]`."""
    axis = torch.arange(-SEARCH_RANGE, SEARCH_RANGE + 1.0)
    return torch.hypot(axis[:, None], axis[None, :]).reshape(-1, 1)


def _block_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance of the blocks of `[N, h, w]`, `[N, B]` each: E[x^2] - E[x]^2."""
    mean, square = block_means(images), block_means(images * images)
    return mean, (square - mean * mean).clamp(min=0)


def block_means(images: Tensor) -> Tensor:
    """Average the blocks: `[N, h, w] -> [N, B]`, in two steps because blocks share quarters."""
    quarters = F.avg_pool2d(images[:, None], MATCH_STRIDE)
    return F.avg_pool2d(quarters, MATCH_BLOCK // MATCH_STRIDE, 1).flatten(1)


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
    rows, columns = _block_pixels(before.shape[1], before.shape[2])  # [B, 8, 1], [B, 1, 8]
    d = difference[best[:, None, None], rows, columns].flatten(1)  # [B, 64]
    d = d - d.mean(1, keepdim=True)
    slopes = torch.stack([s[rows, columns].flatten(1) for s in _slopes(before[0])], dim=1)
    # slopes: [B, 2, 64]
    matrix = slopes @ slopes.transpose(1, 2)  # [B, 2, 2]
    matrix = matrix + torch.eye(2) * slopes.shape[2]  # keeps blocks without texture solvable
    fraction = torch.linalg.solve(matrix, -(slopes @ d[:, :, None]))[:, :, 0]
    return whole + fraction.clamp(-0.5, 0.5)


def _slopes(image: Tensor) -> tuple[Tensor, Tensor]:
    """Return the central differences of `[h, w]`, down and right."""
    padded = F.pad(image[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    down = (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2
    return down, (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2


def _block_pixels(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return rows `[B, 8, 1]` and columns `[B, 1, 8]` of the pixels of each block."""
    rows, columns = (
        torch.arange(0, length - MATCH_BLOCK + 1, MATCH_STRIDE)[:, None] + torch.arange(MATCH_BLOCK)
        for length in (height, width)
    )
    return (
        rows.repeat_interleave(len(columns), dim=0)[:, :, None],
        columns.repeat(len(rows), 1)[:, None, :],
    )
