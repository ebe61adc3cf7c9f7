"""Removable blocks of a U-Net, and the U-Net without them.

A skip connection joins every input block with one output block, and every layer has a fixed number
of channels. Two kinds of removal need no new weights:

- A *pair*, one input and one output block: both are removed with their skip connection, and the
  remaining blocks are joined in order, as in a pruned student. All pairs are tried on channels and
  sizes (`_fits`): both blocks must be of one level, and neither may resize the features or change
  the level's width.
- A *bypass*: a single block becomes the identity. An input block's skip connection then holds the
  same features; an output block ignores its skip connection and keeps its upsampling. The block
  must have as many output channels as the block before it. The middle block has no skip connection
  and can always be bypassed; students lack it in this way.

A *level* is the bypass of all its blocks that allow it; a block that changes the width stays. The
*lowest* levels are removed as pairs are, with all their blocks, their resizing and the middle
block: the rest is a U-Net of fewer levels.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from torch import Tensor, nn

from ...unet.layers import Downsample, ResBlock, UNetBlock, Upsample
from ...unet.model import HummingbirdUNet, UNetConfig
from .block_map import MIDDLE, BlockMap, lowest_levels, unpruned_map

# Kinds of removal that remove the blocks with their skip connections.
REJOINED = ("pair", "lowest", "map")


@dataclass(frozen=True)
class Removal:
    """Blocks that are removed together.

    Attributes:
        kind: "pair", "bypass", "level", "lowest", or "map": every block that a student lacks.
        blocks: their names, such as `input_blocks.2`.
    """

    kind: str
    blocks: tuple[str, ...]


@dataclass(frozen=True)
class _Shape:
    """Channels in (with the skip connection's) and out; levels downwards, -1 for up."""

    in_channels: int
    out_channels: int
    downsample: int


def removals(unet: HummingbirdUNet) -> list[Removal]:
    """Return every possible removal from `unet`, which may be on the meta device."""
    bypasses = list(_bypasses(unet))
    levels = [
        tuple(block for block in bypasses if level_of(unet.config, block) == level)
        for level in range(len(unet.config.channel_mult))
    ]
    return [
        *(Removal("pair", pair) for pair in _pairs(unet)),
        *(Removal("bypass", (block,)) for block in bypasses),
        *(Removal("level", blocks) for blocks in levels if len(blocks) > 1),
        *(Removal("lowest", blocks) for blocks in _lowest(unet)),
    ]


def removal_of_map(config: UNetConfig, mapping: BlockMap) -> Removal:
    """Return the removal of every block that a student made by `mapping` lacks."""
    gone = [block for block in unpruned_map(config) if block not in mapping.values()]
    return Removal("map", tuple(gone))


def level_of(config: UNetConfig, block: str) -> int | None:
    """Return the level of a block, 0 for the highest resolution; None for the middle block."""
    if block == MIDDLE:
        return None
    way, number = block.split(".")
    level = int(number) // (config.num_res_blocks + 1)
    return level if way == "input_blocks" else len(config.channel_mult) - 1 - level


def without(unet: HummingbirdUNet, removal: Removal) -> HummingbirdUNet:
    """Return a U-Net that shares the weights of `unet` but lacks the blocks of `removal`."""
    view = copy.copy(unet)
    view._modules = dict(unet._modules)  # a copy of a module shares this with it
    view.input_blocks = _remaining(unet, "input_blocks", removal)
    view.output_blocks = _remaining(unet, "output_blocks", removal)
    if MIDDLE in removal.blocks:
        view.middle_block = UNetBlock()  # the identity
    return view.train(unet.training)


def _remaining(unet: HummingbirdUNet, way: str, removal: Removal) -> nn.ModuleList:
    blocks = {f"{way}.{i}": block for i, block in enumerate(getattr(unet, way))}
    if removal.kind in REJOINED:
        return nn.ModuleList(block for name, block in blocks.items() if name not in removal.blocks)
    return nn.ModuleList(
        _bypass(block) if name in removal.blocks else block for name, block in blocks.items()
    )


def _bypass(block: Any) -> UNetBlock:
    """Return the identity; an output block's input is [previous block, skip connection]."""
    upsampling = [layer for layer in block if isinstance(layer, Upsample)]
    return UNetBlock(_FirstChannels(_shape(block).out_channels), *upsampling)


class _FirstChannels(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        return x[:, : self.channels]


def _bypasses(unet: HummingbirdUNet) -> Iterator[str]:
    inputs, outputs = _shapes(unet.input_blocks), _shapes(unet.output_blocks)
    for i, shape in enumerate(inputs):
        if shape.in_channels == shape.out_channels and not shape.downsample:
            yield f"input_blocks.{i}"
    if unet.config.middle_block:
        yield MIDDLE
    for i, (shape, skip) in enumerate(zip(outputs, reversed(inputs), strict=True)):
        if shape.in_channels - skip.out_channels == shape.out_channels:
            yield f"output_blocks.{i}"


def _pairs(unet: HummingbirdUNet) -> Iterator[tuple[str, str]]:
    inputs, outputs = _shapes(unet.input_blocks), _shapes(unet.output_blocks)
    for i, j in product(range(len(inputs)), range(len(outputs))):
        if inputs[i].downsample or outputs[j].downsample:
            continue
        if _fits(unet.config, inputs[:i] + inputs[i + 1 :], outputs[:j] + outputs[j + 1 :]):
            yield f"input_blocks.{i}", f"output_blocks.{j}"


def _lowest(unet: HummingbirdUNet) -> Iterator[tuple[str, ...]]:
    inputs, outputs = _shapes(unet.input_blocks), _shapes(unet.output_blocks)
    middle = (MIDDLE,) if unet.config.middle_block else ()
    for count in range(1, len(unet.config.channel_mult)):
        blocks = lowest_levels(unet.config, count)
        gone = len(blocks) // 2
        if _fits(unet.config, inputs[:-gone], outputs[gone:]):
            yield (*blocks, *middle)


def _fits(config: UNetConfig, inputs: list[_Shape], outputs: list[_Shape]) -> bool:
    """Return whether every block gets the channels and skip sizes that it was built for."""
    channels, level = config.in_channels, 0
    skips = []
    for block in inputs:
        if block.in_channels != channels:
            return False
        channels, level = block.out_channels, level + block.downsample
        skips.append((channels, level))
    for block in outputs:
        skip_channels, skip_level = skips.pop()
        if block.in_channels != channels + skip_channels or level != skip_level:
            return False
        channels, level = block.out_channels, level + block.downsample
    return channels == config.model_channels


def _shapes(blocks: nn.ModuleList) -> list[_Shape]:
    return [_shape(block) for block in blocks]


def _shape(block: Any) -> _Shape:
    layer = block[0]
    if isinstance(layer, ResBlock):
        conv: Any = layer.in_layers[2]
        downsample = -1 if isinstance(block[-1], Upsample) else 0
        return _Shape(conv.in_channels, conv.out_channels, downsample)
    conv = layer.op if isinstance(layer, Downsample) else layer
    return _Shape(conv.in_channels, conv.out_channels, int(isinstance(layer, Downsample)))
