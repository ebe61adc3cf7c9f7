"""LoRA: file formats, merging, trainable layers."""

from .formats import LoRA
from .merge import (
    TEACHER_PRESETS,
    LoRAStack,
    MergedLoRA,
    convert_lora,
    load_lora,
    merge_into_submodule,
    merge_lora,
    save_lora,
)

__all__ = [
    "TEACHER_PRESETS",
    "LoRA",
    "LoRAStack",
    "MergedLoRA",
    "convert_lora",
    "load_lora",
    "merge_into_submodule",
    "merge_lora",
    "save_lora",
]
