"""Trainable LoRA layers: peft adds them to the frozen U-Net, `lora_from_peft` reads them back."""

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

ADAPTER = "default"  # peft's name of a model's only adapter


def new_lora(
    unet: HummingbirdUNet,
    rank: int = 64,
    alpha: float = 64.0,
    generator: torch.Generator | None = None,
) -> LoRA:
    """Initialize a LoRA for every Linear, Conv2d and Conv3d (arXiv 2106.09685, section 4.1).

    A (`down`) is random and B (`up`) zero, so that the product B A is zero and the U-Net unchanged.
    A layer with fewer than `rank` inputs or outputs gets a rank of that number, at the same scale
    alpha / rank: 4 for the convolutions on the 4 latent channels.

    Args:
        unet: model whose layers determine the shapes.
        rank: r of the other layers, at least 1.
        alpha: numerator of the scale alpha / rank.
        generator: CPU generator for A.

    Returns:
        weights by layer, in fp32 on the CPU.

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
    """Add a trainable LoRA to the layers of a U-Net, and freeze all other weights.

    Args:
        unet: changed in place: peft replaces its layers.
        lora: initial weights, from `new_lora` or `load_lora`.
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
    unet.train(unet.training)  # peft creates its layers in train mode, with active dropout
    with torch.no_grad():
        for name, (up, down, _) in lora.weights.items():
            layer = unet.get_submodule(name)
            layer.get_parameter(f"lora_B.{ADAPTER}.weight").copy_(up)
            layer.get_parameter(f"lora_A.{ADAPTER}.weight").copy_(down)


def lora_from_peft(unet: HummingbirdUNet) -> LoRA:
    """Copy the current LoRA weights of a U-Net to the CPU.

    Raises:
        InputError: the U-Net has no injected LoRA.
    """
    from peft.tuners.lora import LoraLayer

    weights = {n: _weight_of(m) for n, m in unet.named_modules() if isinstance(m, LoraLayer)}
    if not weights:
        raise InputError("got a U-Net without a LoRA, expected one from inject_lora: call it first")
    return LoRA(weights, "peft")


def _weight_of(layer: LoraLayer) -> LoRAWeight:
    up, down = (
        factor[ADAPTER].get_parameter("weight").detach().to("cpu", copy=True)
        for factor in (layer.lora_B, layer.lora_A)
    )
    return LoRAWeight(up, down, layer.scaling[ADAPTER])
