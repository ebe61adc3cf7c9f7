"""Small LoRAs in every file format, and what tests compare of them."""

from __future__ import annotations

import pytest
import torch
from support.models import det

from hummingbird_core.lora import LoRA
from hummingbird_core.lora.formats import LoRAWeight
from hummingbird_core.lora.layers import new_lora
from hummingbird_core.unet import HummingbirdUNet, UNetConfig

LAYER = "input_blocks.1.0.temopral_conv.conv1.2"  # a (3, 1, 1) convolution


def nano(preset: str = "hummingbird-nano", **changes) -> HummingbirdUNet:
    torch.manual_seed(0)
    return HummingbirdUNet(UNetConfig.from_preset(preset, **changes)).eval()


def some_lora(unet: HummingbirdUNet, name: str = "a", scale: float = 1.0) -> LoRA:
    weights = {}
    for layer, (up, down, _) in new_lora(unet, rank=4, alpha=4).weights.items():
        factors = 0.1 * det(f"{name}.{layer}.up", up.shape), det(f"{name}.{layer}.down", down.shape)
        weights[layer] = LoRAWeight(*factors, scale)
    return LoRA(weights, "new")


def flat_list(lora: LoRA) -> list[torch.Tensor]:
    return [tensor for weight in lora.weights.values() for tensor in (weight.up, weight.down)]


def peft_names(lora: LoRA, prefix: str = "base_model.model.", adapter: str = "") -> dict:
    return {
        f"{prefix}{layer}.lora_{part}{adapter}.weight": tensor
        for layer, (up, down, _) in lora.weights.items()
        for part, tensor in (("B", up), ("A", down))
    }


def kohya_names(lora: LoRA, alpha: float) -> dict:
    tensors = {}
    for layer, (up, down, _) in lora.weights.items():
        label = "lora_unet_" + layer.replace(".", "_")
        tensors[f"{label}.lora_up.weight"] = up
        tensors[f"{label}.lora_down.weight"] = down
        tensors[f"{label}.alpha"] = torch.tensor(alpha)
    return tensors


def assert_same(got: LoRA, expected: LoRA, scale: float = 1.0) -> None:
    assert list(got.weights) == list(expected.weights)
    for layer, weight in got.weights.items():
        assert weight.scale == pytest.approx(scale)
        assert torch.equal(weight.up, expected.weights[layer].up)
        assert torch.equal(weight.down, expected.weights[layer].down)


def weights_of(unet: HummingbirdUNet) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in unet.state_dict().items()}


def assert_bitwise(unet: HummingbirdUNet, expected: dict[str, torch.Tensor]) -> None:
    assert all(torch.equal(value, expected[name]) for name, value in unet.state_dict().items())
