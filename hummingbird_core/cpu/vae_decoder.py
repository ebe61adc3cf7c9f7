"""The decoder of diffusers' `AutoencoderKL`, with less memory and fewer copies.

Layers and their order are diffusers'. Features are kept in channels-last memory, and activations
are modified in place. After `accelerate_for_cpu`, norms and upsampling are fused into the
convolutions that use the Winograd algorithm. At 320x512, one full-size feature map of one frame
takes 168 MB in float32, and diffusers' own decoder holds four at a time.

Features are `[N, C, H, W]`, N frames; the decoder upsamples latents h, w by 8.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .layers import FoldingNorm, can_fold
from .winograd import Before

SHORTCUT_ROWS = 64  # rows of pixels added at a time


def decode_images(vae: Any, latents: Tensor) -> Tensor:
    """Decode images; equal to `vae.decode(latents).sample`.

    Args:
        vae: an `AutoencoderKL`, with or without its encoder.
        latents: `[N, C, h, w]`, divided by the scaling factor already.

    Returns:
        Images `[N, 3, 8h, 8w]`.
    """
    decoder = vae.decoder
    x = latents.contiguous(memory_format=torch.channels_last)
    x = decoder.conv_in(vae.post_quant_conv(x))
    before, after = decoder.mid_block.resnets
    x = _res_block(before, x)
    for attention in decoder.mid_block.attentions:
        x = x if attention is None else attention(x)
    x = _res_block(after, x)
    for block in decoder.up_blocks:
        for resnet in block.resnets:
            x = _res_block(resnet, x)
        for upsampler in block.upsamplers or ():
            x = _upsample(upsampler.conv, x)
    return _norm_silu_conv(decoder.conv_norm_out, decoder.conv_out, x)


def _res_block(block: Any, x: Tensor) -> Tensor:
    """Return x + conv2(SiLU(norm2(conv1(SiLU(norm1(x)))))), x projected if the width changes."""
    h = _norm_silu_conv(block.norm1, block.conv1, x)
    h = _norm_silu_conv(block.norm2, block.conv2, h, into=h)
    if block.conv_shortcut is None:
        return h.add_(x)
    for start in range(0, x.shape[2], SHORTCUT_ROWS):
        rows = slice(start, start + SHORTCUT_ROWS)
        h[:, :, rows].add_(block.conv_shortcut(x[:, :, rows]))
    return h


def _norm_silu_conv(norm: Any, conv: Any, x: Tensor, into: Tensor | None = None) -> Tensor:
    """Return conv(SiLU(norm(x))); a fused one is written to `into`."""
    if can_fold(conv, x) and isinstance(norm, FoldingNorm):
        return conv(x, before=norm(x, folded=True), into=into)
    return conv(F.silu(norm(x), inplace=True))


def _upsample(conv: Any, x: Tensor) -> Tensor:
    """Return the convolution of `x` with every pixel repeated 2x2."""
    if can_fold(conv, x, doubled=True):
        return conv(x, before=Before(doubled=True))
    return conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
