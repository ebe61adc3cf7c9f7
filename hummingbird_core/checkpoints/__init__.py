"""Checkpoints: loading, converting, describing."""

from ..weights.tensor_files import read_tensors
from .load import (
    CUSTOM_PRESET,
    LICENCE_KEY,
    PRESET_KEY,
    TOKENIZER_KEY,
    Checkpoint,
    OnPart,
    checkpoint_info,
    convert_checkpoint,
    load_checkpoint,
    unet_parts,
)

__all__ = [
    "CUSTOM_PRESET",
    "LICENCE_KEY",
    "PRESET_KEY",
    "TOKENIZER_KEY",
    "Checkpoint",
    "OnPart",
    "checkpoint_info",
    "convert_checkpoint",
    "load_checkpoint",
    "read_tensors",
    "unet_parts",
]
