"""Checkpoints: loading, converting, describing."""

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
    read_tensors,
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
