"""What image and video models want done to frames before they see them, differentiable."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def resize_short_side(pictures: Tensor, size: int) -> Tensor:
    """Bicubic and anti-aliased, as Pillow resizes: `[N, 3, H, W]`, the shorter side `size` pixels.

    Values are those of the input, 0..1, without the overshoot at edges.
    """
    height, width = pictures.shape[2:]
    scale = size / min(height, width)
    # Cut off, not rounded, as in the pre-processing that CLIP models are trained with.
    new_size = max(size, int(height * scale)), max(size, int(width * scale))
    resized = F.interpolate(
        pictures.float(), new_size, mode="bicubic", antialias=True, align_corners=False
    )
    return resized.clamp(0, 1)


def centre_crop(pictures: Tensor, size: int) -> Tensor:
    """The middle `[..., size, size]` of `[..., H, W]`."""
    height, width = pictures.shape[-2:]
    return _crop(pictures, round((height - size) / 2), round((width - size) / 2), size)


def random_crop(pictures: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Any `[..., size, size]` of `[..., H, W]`, the same for all pictures."""
    top, left = (
        int(torch.randint(length - size + 1, (1,), generator=generator))
        for length in pictures.shape[-2:]
    )
    return _crop(pictures, top, left, size)


def _crop(pictures: Tensor, top: int, left: int, size: int) -> Tensor:
    return pictures[..., top : top + size, left : left + size]


def standardise(pictures: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Subtracts the mean and divides by the deviation of each colour of `[N, 3, H, W]`."""
    shape = (1, 3, 1, 1)
    return (pictures - pictures.new_tensor(mean).view(shape)) / pictures.new_tensor(std).view(shape)
