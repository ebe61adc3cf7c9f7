"""Loops: videos whose first frame follows the last one."""

from __future__ import annotations

import torch
from torch import Tensor

from ..settings import Loop


def complete_loop(latents: Tensor, loop: Loop) -> Tensor:
    """Add the way back of a swing to latents `[B, 4, N, h, w]`: `[B, 4, 2N - 2, h, w]`.

    0 1 2 3 becomes 0 1 2 3 2 1: neither the turning points nor the seam repeat a frame.
    """
    if loop != "swing":
        return latents
    return torch.cat([latents, latents[:, :, 1:-1].flip(2)], dim=2)
