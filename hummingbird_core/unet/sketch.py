"""A coarse clip from the text alone: what a nano U-Net knows before it sees any signal.

From pure noise the best prediction is the mean of all clips with the caption, E[x_0 | c]. Of two
subjects it is a sum of products, of each one's color and the waves of its motion. A small U-Net did
not learn these from the text; from a text embedding that holds the products of colors and motions
they are a linear function, which least squares find (`training/nano/sketch.py`).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from .config import FRAME_HARMONICS, FRAME_OCTAVES, UNetConfig
from .layers import conv3x3, frame_angles

SPACE_HARMONICS = 3
SPACE_WAVES = 1 + 2 * SPACE_HARMONICS
TIME_WAVES = 1 + 2 * (FRAME_HARMONICS + FRAME_OCTAVES)


class TextSketch(nn.Module):
    """Features of a coarse clip that is a linear function of the text.

    s(x, y, t) = sum_ij a_ij u_i(x, y) v_j(t), with u of 1, cos(pi k x) and cos(pi k y), and v of 1
    and the waves of `FramePositionEmbedding`. The amplitudes are linear in the mean text token.

    Args:
        config: `context_dim`, `in_channels` and `model_channels` count.
        operations: namespace of layer classes.
    """

    def __init__(self, config: UNetConfig, operations: Any):
        super().__init__()
        count = TIME_WAVES * SPACE_WAVES * config.in_channels
        self.proj = operations.Linear(config.context_dim, count)
        self.conv = conv3x3(config.in_channels, config.model_channels, operations)

    def forward(
        self, context: Tensor, fps: Tensor, shape: tuple[int, int, int], *, loop: bool = False
    ) -> Tensor:
        """Return the features of the sketch.

        Args:
            context: text embedding `[B, L, context_dim]`.
            fps: frames per second, `[B]`.
            shape: T, H and W of the latents.
            loop: whether the first frame follows the last one.

        Returns:
            `[B, T, C, H, W]`.
        """
        sketch = self.draw(context, fps, shape, loop=loop)
        # [B, T, 4, H, W] -> [B*T, 4, H, W] -> [B, T, C, H, W]
        return self.conv(sketch.flatten(0, 1)).unflatten(0, sketch.shape[:2])

    def draw(
        self, context: Tensor, fps: Tensor, shape: tuple[int, int, int], *, loop: bool = False
    ) -> Tensor:
        """Return the coarse clip as latents, `[B, T, 4, H, W]`."""
        # [B, context_dim] -> [B, V*U*4] -> [B, V, U, 4]
        amplitudes = self.proj(context.mean(dim=1)).unflatten(-1, (TIME_WAVES, SPACE_WAVES, -1))
        v = time_waves(shape[0], fps, loop=loop).to(context.dtype)
        u = space_waves(*shape[1:], context.device).to(context.dtype)
        return torch.einsum("bvuc,btv,uhw->btchw", amplitudes, v, u)


def time_waves(num_frames: int, fps: Tensor, *, loop: bool = False) -> Tensor:
    """Return the values of every wave in every frame, `[B, T, TIME_WAVES]`."""
    angles = frame_angles(num_frames, fps, seconds=True, loop=loop)  # [B, T, K + F]
    return torch.cat([torch.ones_like(angles[..., :1]), angles.cos(), angles.sin()], dim=-1)


def space_waves(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Return the values of every wave at every pixel, `[SPACE_WAVES, H, W]`; orthogonal."""
    k = torch.arange(1.0, SPACE_HARMONICS + 1, device=device)[:, None]
    # Pixel centers in 0..1. [K, W] and [K, H]
    x, y = (
        math.pi * k * (torch.arange(float(size), device=device) + 0.5) / size
        for size in (width, height)
    )
    along_x = x.cos()[:, None, :].expand(-1, height, -1)  # [K, W] -> [K, H, W]
    along_y = y.cos()[:, :, None].expand(-1, -1, width)  # [K, H] -> [K, H, W]
    return torch.cat([torch.ones(1, height, width, device=device), along_x, along_y])
