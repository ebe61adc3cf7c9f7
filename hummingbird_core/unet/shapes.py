"""Shapes of a U-Net's weights by their names, without the weights."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from torch import Tensor, nn

from .config import UNetConfig
from .model import LAYER_CLASSES, HummingbirdUNet


def weight_shapes(config: UNetConfig) -> dict[str, Tensor]:
    """Return the state dict of a `HummingbirdUNet`, of tensors without memory ("meta")."""
    return unet_without_weights(config).state_dict()


def unet_without_weights(config: UNetConfig) -> HummingbirdUNet:
    """Build a U-Net of tensors without memory ("meta"), for its names and shapes."""
    return HummingbirdUNet(config, operations=_UNINITIALIZED, device="meta")


def _uninitialized(name: str) -> Any:
    """Return a layer class that leaves its weights alone: initializing takes most of the time."""
    return type(name, (getattr(nn, name),), {"reset_parameters": lambda self: None})


_UNINITIALIZED = SimpleNamespace(**{name: _uninitialized(name) for name in LAYER_CLASSES})
