"""The video U-Net of Hummingbird and of its teacher VideoCrafter2."""

from .config import PRESETS, UNetConfig
from .model import (
    GUIDANCE_DIM,
    HummingbirdUNet,
    noise_from_v,
)

__all__ = [
    "GUIDANCE_DIM",
    "PRESETS",
    "HummingbirdUNet",
    "UNetConfig",
    "noise_from_v",
]
