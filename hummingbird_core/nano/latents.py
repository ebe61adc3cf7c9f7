"""Latents of the built-in model: the image at an eighth of its size, and the strength of its edges.

A freely trained VAE encodes the position of an edge in an arbitrary code of four numbers, and a
tiny diffusion model spends its training on that code. These latents change smoothly as a shape
moves. Being a formula, they need no VAE: its encoder learns to predict them, its decoder to decode
them, and the U-Net is trained independently on clips drawn on demand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

LATENT_CELL = 8  # pixels per latent pixel and axis: the VAE downsamples by 8
EDGE_GAIN = 4.0  # gives the fourth channel about the range of the others
EDGE_MEAN = 0.75
MAX_DEVIATION = 0.7  # std of a cell, half palette color and half background
# Gives latents a std of 0.6, which hides more of the motion in the noisiest training input, so that
# the U-Net has to use the text.
NANO_SCALING_FACTOR = 0.9


def image_latents(frames: Tensor) -> Tensor:
    """Return the latents that the VAE's encoder is trained to predict, before scaling.

    Args:
        frames: `[N, 3, H, W]` in -1..1.

    Returns:
        Latents `[N, 4, H/8, W/8]`: mean color and color std of every cell of 8x8 pixels. The std
        rises steeply with the first pixels that a shape covers, so corners are visible.
    """
    color = F.avg_pool2d(frames, LATENT_CELL)
    variance = F.avg_pool2d(frames.square(), LATENT_CELL) - color.square()
    deviation = variance.mean(dim=1, keepdim=True).clamp(min=0).add(1e-4).sqrt()
    return torch.cat([color, EDGE_GAIN * deviation - EDGE_MEAN], dim=1)


def has_image_latents(vae: Mapping[str, Any]) -> bool:
    """Return whether the latents of a VAE of this config are images, as `image_latents` makes."""
    return bool(vae.get("latents_are_images"))


def clamp_to_range(latents: Tensor) -> Tensor:
    """Clamp scaled latents `[B, 4, T, h, w]` to the range of images."""
    low = torch.tensor([-1.0, -1.0, -1.0, -EDGE_MEAN])
    high = torch.tensor([1.0, 1.0, 1.0, EDGE_GAIN * MAX_DEVIATION - EDGE_MEAN])
    low, high = (
        NANO_SCALING_FACTOR * limit.reshape(4, 1, 1, 1).to(latents) for limit in (low, high)
    )
    return latents.clamp(low, high)


def preview_colors() -> list[list[float]]:
    """Return the matrix from scaled latents to RGB in -1..1: a row per channel, then the bias."""
    return [*(torch.eye(4, 3) / NANO_SCALING_FACTOR).tolist(), [0.0, 0.0, 0.0]]
