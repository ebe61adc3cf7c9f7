"""Training a LoRA: peft puts it beside the frozen weights, and `lora_from_peft` takes it out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..errors import InputError, MissingPackageError
from ..unet.model import HummingbirdUNet
from .formats import LoRA, LoRAWeight, lora_targets, peft_config

if TYPE_CHECKING:
    from peft.tuners.lora import LoraLayer

ADAPTER = "default"  # peft's own name for the only adapter of a model


def new_lora(
    unet: HummingbirdUNet,
    rank: int = 64,
    alpha: float = 64.0,
    generator: torch.Generator | None = None,
) -> LoRA:
    """A LoRA for every Linear, Conv2d and Conv3d that changes nothing yet (arXiv 2106.09685).

    A layer with fewer than `rank` inputs or outputs gets as many as it has, at the same scale
    alpha / rank: 4 at the latent's own convolutions.

    Args:
        unet: gives the shapes.
        rank: of the other layers, at least 1.
        alpha: divided by `rank`, the factor on up @ down.
        generator: CPU generator for the downward weights.

    Raises:
        InputError: the rank is below 1.
    """
    if rank < 1:
        raise InputError(f"got LoRA rank {rank}, expected at least 1: 64 is the released one")
    weights = {}
    for name, layer in lora_targets(unet).items():
        outputs, inputs, *kernel = layer.get_parameter("weight").shape
        r = min(rank, inputs, outputs)
        down = torch.empty(r, inputs, *kernel)
        nn.init.kaiming_uniform_(down, a=math.sqrt(5), generator=generator)
        up = torch.zeros(outputs, r, *[1] * len(kernel))
        weights[name] = LoRAWeight(up, down, alpha / rank)
    return LoRA(weights, "new")


def inject_lora(unet: HummingbirdUNet, lora: LoRA, dropout: float = 0.0) -> None:
    """Puts a LoRA beside the layers of `unet`, to be trained; all other weights are frozen.

    Args:
        unet: changed in place: its layers become peft's.
        lora: where training starts, from `new_lora` or `load_lora`.
        dropout: drop probability of the LoRA's input, in training only.

    Raises:
        MissingPackageError: peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise MissingPackageError(
            "got no package peft, expected it for LoRA training: "
            "pip install peft accelerate pyyaml tensorboard"
        ) from error
    config = LoraConfig(**peft_config(lora), lora_dropout=dropout)
    inject_adapter_in_model(config, unet, ADAPTER)
    unet.train(unet.training)  # peft's new layers start in train mode, with their dropout on
    with torch.no_grad():
        for name, (up, down, _) in lora.weights.items():
            layer = unet.get_submodule(name)
            layer.get_parameter(f"lora_B.{ADAPTER}.weight").copy_(up)
            layer.get_parameter(f"lora_A.{ADAPTER}.weight").copy_(down)


def lora_from_peft(unet: HummingbirdUNet) -> LoRA:
    """A copy of the LoRA in the state that training has brought it to, on the CPU.

    Raises:
        InputError: no LoRA was injected.
    """
    from peft.tuners.lora import LoraLayer

    weights = {n: _weight_of(m) for n, m in unet.named_modules() if isinstance(m, LoraLayer)}
    if not weights:
        raise InputError("got a U-Net without a LoRA, expected one from inject_lora: call it first")
    return LoRA(weights, "peft")


def _weight_of(layer: LoraLayer) -> LoRAWeight:
    up, down = (
        part[ADAPTER].get_parameter("weight").detach().to("cpu", copy=True)
        for part in (layer.lora_B, layer.lora_A)
    )
    return LoRAWeight(up, down, layer.scaling[ADAPTER])
