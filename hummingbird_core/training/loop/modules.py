"""Preparation of modules for training: freezing, dropout, LoRA, recorded outputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ...devices import DTYPES
from ...lora.layers import inject_lora
from ...lora.merge import LoRA
from ...unet.model import HummingbirdUNet
from .distributed import distributed_state


def freeze(module: nn.Module, precision: str) -> None:
    """Disable gradients and dropout, and move the module to the training device and precision.

    A teacher in training mode would pass its dropout noise on to the student.
    """
    module.eval().requires_grad_(False)
    # Not diffusers' own `to`, which warns of layers to keep in fp32 without naming any.
    nn.Module.to(module, distributed_state().device, DTYPES[precision])


def set_dropout(module: nn.Module, probability: float) -> None:
    """Set the probability of every dropout layer."""
    for layer in module.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = probability


def add_lora(
    unet: HummingbirdUNet, lora: LoRA, dtype: torch.dtype | None, dropout: float = 0.0
) -> None:
    """Add a trainable LoRA in fp32 to frozen weights.

    Args:
        unet: changed in place.
        lora: initial weights.
        dtype: of the frozen weights; None keeps theirs.
        dropout: probability on the LoRA's input.
    """
    if dtype is not None:
        unet.to(dtype)
    inject_lora(unet, lora, dropout)
    for parameter in unet.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()  # half precision loses small updates


@contextmanager
def recorded_outputs(model: nn.Module, names: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """Collect the outputs of the submodules `names` during the block."""
    outputs: dict[str, Tensor] = {}

    def record(name: str, output: Tensor) -> None:
        outputs[name] = output

    handles = [
        model.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: record(name, output)
        )
        for name in names
    ]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
