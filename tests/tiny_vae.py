"""A VAE of the released models' kind, small enough for a test."""

from __future__ import annotations

from typing import Any

from diffusers.models import AutoencoderKL


def tiny_vae(*widths: int, **options: Any) -> AutoencoderKL:
    """Random weights, in eval mode; a level for each width, as many as the real one by default."""
    widths = widths or (8, 8, 16, 16)
    vae = AutoencoderKL(
        block_out_channels=widths,
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        norm_num_groups=4,
        **options,
    )
    return vae.eval()
