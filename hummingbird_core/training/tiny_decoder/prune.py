"""Pruning of a VAE decoder: its strongest filters, in fewer blocks.

With four sampling steps, the full decoder is 44 % of all work. Keeping one norm group in `divisor`
leaves 1 / divisor^2 of the arithmetic of its convolutions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...errors import InputError
from ...vae.tiny import PrunedDecoderConfig, build_pruned_decoder

if TYPE_CHECKING:
    from diffusers.models import AutoencoderKL


def prune_decoder(full: AutoencoderKL, divisor: int, layers_per_block: int) -> AutoencoderKL:
    """Return a decoder with 1 / `divisor` of the norm groups of the full one, and fewer blocks.

    Filters are ranked by their L1 norm (arXiv 1608.08710), whole norm groups at a time, so that
    the statistics of a kept group do not change. Attention is left out.

    Args:
        full: the VAE; stays unchanged.
        divisor: divides the widths and the number of norm groups.
        layers_per_block: residual blocks of each level, minus one; at most those of `full`.

    Raises:
        InputError: the number of norm groups is not a multiple of `divisor`, or `full`
            has fewer blocks.
    """
    config: Any = full.config
    groups, layers = config["norm_num_groups"], config["layers_per_block"]
    if divisor < 1 or groups % divisor or not 0 <= layers_per_block <= layers:
        raise InputError(
            f"got divisor {divisor} and {layers_per_block} layers, expected a divisor of {groups} "
            f"and 0 to {layers} layers"
        )
    small = build_pruned_decoder(
        PrunedDecoderConfig(
            tuple(width // divisor for width in config["block_out_channels"]),
            layers_per_block,
            groups // divisor,
            config["scaling_factor"],
            config["latent_channels"],
        )
    )
    _Pruner(groups, divisor).copy(full, small)
    return small


class _Pruner:
    """Copier of the kept filters of one decoder into a smaller one.

    Residual blocks add to one stream of features: `stream` holds the indices of its kept channels
    and changes only where the width does.
    """

    def __init__(self, groups: int, divisor: int):
        self.groups = groups
        self.kept = groups // divisor

    @torch.no_grad()
    def copy(self, full: Any, small: Any) -> None:
        small.post_quant_conv.load_state_dict(full.post_quant_conv.state_dict())
        here, there = full.decoder, small.decoder
        stream = self.strongest(here.conv_in)
        _copy(here.conv_in, there.conv_in, stream)
        for a, b in zip(here.mid_block.resnets, there.mid_block.resnets, strict=True):
            self.res_block(a, b, stream)
        for a_block, b_block in zip(here.up_blocks, there.up_blocks, strict=True):
            # Of the full one's blocks, the first ones: the first also changes the width.
            for a, b in zip(a_block.resnets, b_block.resnets, strict=False):
                stream = self.res_block(a, b, stream)
            for a, b in zip(a_block.upsamplers or [], b_block.upsamplers or [], strict=True):
                _copy(a.conv, b.conv, stream, stream)
        _copy(here.conv_norm_out, there.conv_norm_out, stream)
        _copy(here.conv_out, there.conv_out, None, stream)

    def res_block(self, full: Any, small: Any, stream: Tensor) -> Tensor:
        """Copy a residual block and return the kept channels of its output."""
        inner = self.strongest(full.conv1)
        out = stream if full.conv_shortcut is None else self.strongest(full.conv_shortcut)
        _copy(full.norm1, small.norm1, stream)
        _copy(full.conv1, small.conv1, inner, stream)
        _copy(full.norm2, small.norm2, inner)
        _copy(full.conv2, small.conv2, out, inner)
        if full.conv_shortcut is not None:
            _copy(full.conv_shortcut, small.conv_shortcut, out, stream)
        return out

    def strongest(self, conv: nn.Conv2d) -> Tensor:
        """Return the output channels of the groups with the largest L1 norm, in order."""
        norms = conv.weight.abs().sum(dim=(1, 2, 3)).unflatten(0, (self.groups, -1))  # [G, C/G]
        best = norms.sum(dim=1).topk(self.kept).indices.sort().values
        size = norms.shape[1]
        return (best[:, None] * size + torch.arange(size, device=best.device)).flatten()


def _copy(full: Any, small: Any, out: Tensor | None, inputs: Tensor | None = None) -> None:
    """Copy the chosen output and input channels of a convolution or norm; None keeps all."""
    weight, bias = full.weight, full.bias
    if out is not None:
        weight, bias = weight[out], bias[out]
    if inputs is not None:
        weight = weight[:, inputs]
    small.weight.copy_(weight)
    small.bias.copy_(bias)
