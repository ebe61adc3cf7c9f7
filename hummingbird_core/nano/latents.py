"""Latents of the built-in model: the picture at an eighth of its size, and where its edges are.

A VAE that is free to choose packs the place of an edge into four numbers any way it likes, and a
tiny diffusion model then spends its training on that code. These latents change evenly as a shape
moves. Being a formula, they are also there before any VAE is: its encoder learns to make them, its
decoder to read them, and the U-Net is trained meanwhile on clips drawn as they are needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

LATENT_CELL = 8  # pixels of a latent's side: the VAE is 8x down
EDGE_GAIN = 4.0  # gives the fourth channel about the range of the others
EDGE_MEAN = 0.75
MAX_DEVIATION = 0.7  # of the colours of a cell, half palette colour and half background
# Latents of 0.6 deviation leave less of the motion readable in the noisiest training input,
# so that the U-Net has to ask the text for it.
NANO_SCALING_FACTOR = 0.9


def image_latents(frames: Tensor) -> Tensor:
    """What the VAE's encoder is trained to give, before scaling.

    Args:
        frames: `[N, 3, H, W]` in -1..1.

    Returns:
        `[N, 4, H/8, W/8]`: the mean colour of every cell of 8x8 pixels, and how much its colours
        differ. The latter rises steeply with the first pixels that a shape covers, so corners show.
    """
    colour = F.avg_pool2d(frames, LATENT_CELL)
    variance = F.avg_pool2d(frames.square(), LATENT_CELL) - colour.square()
    deviation = variance.mean(dim=1, keepdim=True).clamp(min=0).add(1e-4).sqrt()
    return torch.cat([colour, EDGE_GAIN * deviation - EDGE_MEAN], dim=1)


def has_nano_latents(vae: Mapping[str, Any]) -> bool:
    """Return whether the latents of a VAE of this config are images, as the built-in model's."""
    return vae.get("scaling_factor") == NANO_SCALING_FACTOR


def clamp_to_range(latents: Tensor) -> Tensor:
    """Scaled latents `[B, 4, T, h, w]`, held in the range that pictures have."""
    low = torch.tensor([-1.0, -1.0, -1.0, -EDGE_MEAN])
    high = torch.tensor([1.0, 1.0, 1.0, EDGE_GAIN * MAX_DEVIATION - EDGE_MEAN])
    low, high = (
        NANO_SCALING_FACTOR * limit.reshape(4, 1, 1, 1).to(latents) for limit in (low, high)
    )
    return latents.clamp(low, high)


def preview_colors() -> list[list[float]]:
    """How previews make RGB in -1..1 of scaled latents: a row for each channel, and a bias."""
    return [*(torch.eye(4, 3) / NANO_SCALING_FACTOR).tolist(), [0.0, 0.0, 0.0]]


def foreground_weight(latents: Tensor) -> Tensor:
    """5 where the subject is, 1 elsewhere: it fills an eighth of the picture, but most of the text.

    Args:
        latents: clean, `[B, 4, T, h, w]`.

    Returns:
        `[B, 1, T, h, w]`.
    """
    # Of each row: the outer columns of all frames, most of which no subject reaches.
    outer = latents[..., [0, -1]].transpose(2, 3).flatten(3)  # [B, 4, h, 2T]
    background = outer.median(dim=-1).values[:, :, None, :, None]  # [B, 4, 1, h, 1]
    distance = (latents - background).abs().mean(dim=1, keepdim=True)
    return 1 + 4.0 * (distance > 0.25 * distance.amax(dim=(2, 3, 4), keepdim=True))
