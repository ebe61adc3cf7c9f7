"""How a model is made ready for training: frozen, without dropout, or with a LoRA beside it."""

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
    """No gradients, no dropout, on the training device in the precision of the computation.

    A teacher left in training mode would teach its own dropout.
    """
    module.eval().requires_grad_(False)
    # Not diffusers' own `to`, which warns of layers to keep in fp32, and then names none.
    nn.Module.to(module, distributed_state().device, DTYPES[precision])


def set_dropout(module: nn.Module, probability: float) -> None:
    """Of all layers that have it."""
    for layer in module.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = probability


def add_lora(
    unet: HummingbirdUNet, lora: LoRA, dtype: torch.dtype | None, dropout: float = 0.0
) -> None:
    """Puts a LoRA to be trained, in fp32, beside weights that are frozen.

    Args:
        unet: changed in place.
        lora: where training starts.
        dtype: of the frozen weights; None leaves them as they are.
        dropout: of the LoRA's input.
    """
    if dtype is not None:
        unet.to(dtype)
    inject_lora(unet, lora, dropout)
    for parameter in unet.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()  # too small steps are lost in half precision


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
