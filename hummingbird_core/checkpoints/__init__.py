"""Checkpoints: loading, converting, describing."""

from ..weights.tensor_files import read_tensors
from .convert import convert_checkpoint
from .info import checkpoint_info
from .layout import CUSTOM_PRESET, LICENSE_KEY, PRESET_KEY, TOKENIZER_KEY
from .load import Checkpoint, OnLoaded, load_checkpoint, submodule_names

__all__ = [
    "CUSTOM_PRESET",
    "LICENSE_KEY",
    "PRESET_KEY",
    "TOKENIZER_KEY",
    "Checkpoint",
    "OnLoaded",
    "checkpoint_info",
    "convert_checkpoint",
    "load_checkpoint",
    "read_tensors",
    "submodule_names",
]
