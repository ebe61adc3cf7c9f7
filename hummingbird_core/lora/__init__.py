"""LoRA: file formats, merging, trainable layers."""

from .formats import LoRA
from .merge import (
    LoRAStack,
    MergedLoRA,
    convert_lora,
    load_lora,
    merge_into_submodule,
    merge_lora,
    save_lora,
)

__all__ = [
    "LoRA",
    "LoRAStack",
    "MergedLoRA",
    "convert_lora",
    "load_lora",
    "merge_into_submodule",
    "merge_lora",
    "save_lora",
]
