"""The decoder of diffusers' `AutoencoderKL`, computed with less memory and fewer copies.

The same layers in the same order, but features are kept in channels-last memory, and what a layer
made is changed in place instead of copied. Where our convolutions are taken, norms and doublings
are part of them. At 320x512, one full-size feature map of one frame takes 168 MB in float32, and
diffusers' own decoder has four of them at a time.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .winograd import Before, FoldingNorm, can_fold

SHORTCUT_ROWS = 64  # of pixels at a time


def decode_images(vae: Any, latents: Tensor) -> Tensor:
    """Unscaled latents `[N, C, h, w]` to images `[N, 3, 8h, 8w]`; as `vae.decode(latents).sample`.

    Args:
        vae: an `AutoencoderKL`, or a decoder of its kind without the encoder.
        latents: of one size.
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
    h = _norm_silu_conv(block.norm1, block.conv1, x)
    h = _norm_silu_conv(block.norm2, block.conv2, h, into=h)
    if block.conv_shortcut is None:
        return h.add_(x)
    for start in range(0, x.shape[2], SHORTCUT_ROWS):
        rows = slice(start, start + SHORTCUT_ROWS)
        h[:, :, rows].add_(block.conv_shortcut(x[:, :, rows]))
    return h


def _norm_silu_conv(norm: Any, conv: Any, x: Tensor, into: Tensor | None = None) -> Tensor:
    """A convolution of SiLU(norm(x)); it may go to `into`."""
    if can_fold(conv, x) and isinstance(norm, FoldingNorm):
        return conv(x, before=norm(x, folded=True), into=into)
    return conv(F.silu(norm(x), inplace=True))


def _upsample(conv: Any, x: Tensor) -> Tensor:
    if can_fold(conv, x, doubled=True):
        return conv(x, before=Before(doubled=True))
    return conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
