"""The video U-Net of Hummingbird and of its teacher VideoCrafter2."""

from .config import PRESETS, UNetConfig
from .model import (
    GUIDANCE_DIM,
    HummingbirdUNet,
    v_to_eps,
)

__all__ = [
    "GUIDANCE_DIM",
    "PRESETS",
    "HummingbirdUNet",
    "UNetConfig",
    "v_to_eps",
]
