"""Pruned decoders without diffusers, which ComfyUI lacks: its layers, run by `decode_images`."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ..cpu import accelerate_for_cpu
from ..cpu.vae_decoder import decode_images
from ..weights.state_dict import validate_state_dict
from .tiny import PrunedDecoderConfig, read_pruned

EPS = 1e-6  # of every norm


class PrunedDecoder(nn.Module):
    """The layers of a pruned decoder, in the names of diffusers' `AutoencoderKL`.

    Attributes:
        config: its shape.
    """

    def __init__(self, config: PrunedDecoderConfig):
        super().__init__()
        self.config = config
        channels = config.latent_channels
        self.post_quant_conv = nn.Conv2d(channels, channels, 1)
        self.decoder = _Decoder(config)

    def forward(self, latents: Tensor) -> Tensor:
        """Decode latents `[N, C, h, w]`, divided by their scale, to images `[N, 3, 8h, 8w]`."""
        return decode_images(self, latents)


def load_pruned_decoder(path: Path, dtype: torch.dtype = torch.float32) -> PrunedDecoder:
    """Load the file of a pruned decoder, in eval mode.

    Raises:
        CheckpointError: it is damaged, or of something else.
    """
    config, weights = read_pruned(path)
    with torch.device("meta"):
        model = PrunedDecoder(config)
    validate_state_dict("pruned decoder", model.state_dict(), weights)
    model.load_state_dict({key: value.to(dtype) for key, value in weights.items()}, assign=True)
    accelerate_for_cpu(model)
    return model.eval()


class _Decoder(nn.Module):
    def __init__(self, config: PrunedDecoderConfig):
        super().__init__()
        groups, blocks = config.norm_num_groups, config.layers_per_block + 1
        widths = config.block_out_channels[::-1]  # the coarsest level first
        deepest = widths[0]
        self.conv_in = nn.Conv2d(config.latent_channels, deepest, 3, padding=1)
        self.mid_block = _Block(deepest, deepest, 2, groups, upsample=False)
        inputs = (deepest, *widths)
        self.up_blocks = nn.ModuleList(
            _Block(before, width, blocks, groups, upsample=level < len(widths) - 1)
            for level, (before, width) in enumerate(zip(inputs, widths, strict=False))
        )
        self.conv_norm_out = nn.GroupNorm(groups, widths[-1], EPS)
        self.conv_out = nn.Conv2d(widths[-1], 3, 3, padding=1)


class _Block(nn.Module):
    """Residual blocks of one level, the first of which changes the width, and an upsampling."""

    attentions = ()

    def __init__(self, inputs: int, width: int, count: int, groups: int, *, upsample: bool):
        super().__init__()
        self.resnets = nn.ModuleList(
            _ResBlock(width if i else inputs, width, groups) for i in range(count)
        )
        self.upsamplers = nn.ModuleList([_Upsampler(width)] if upsample else [])


class _ResBlock(nn.Module):
    def __init__(self, inputs: int, width: int, groups: int):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, inputs, EPS)
        self.conv1 = nn.Conv2d(inputs, width, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, width, EPS)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(inputs, width, 1) if inputs != width else None


class _Upsampler(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)
