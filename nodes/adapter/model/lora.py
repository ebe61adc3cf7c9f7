"""LoRAs of any format, applied with ComfyUI's own patching."""

from __future__ import annotations

from pathlib import Path

import comfy.model_patcher
import comfy.sd

from ....hummingbird_core.errors import printable
from ....hummingbird_core.lora import load_lora
from ....hummingbird_core.lora.formats import LoRA, comfyui_tensors
from ..errors import naming
from .unet import hummingbird_unet

MAX_SHOWN = 5  # unused keys in the report


def apply_lora(
    model: comfy.model_patcher.ModelPatcher, path: Path, strength: float
) -> tuple[comfy.model_patcher.ModelPatcher, str]:
    """Return a copy of the MODEL with a LoRA, and a report of what did not fit.

    Raises:
        CheckpointError: the file is damaged, is no LoRA, or no layer of it fits this model.
    """
    unet = hummingbird_unet(model)
    with naming("lora"):
        lora = load_lora(path, unet)
    patched, _ = comfy.sd.load_lora_for_models(model, None, comfyui_tensors(lora), strength, 0.0)
    return patched, _describe(lora, path.name)


def _describe(lora: LoRA, name: str) -> str:
    lines = [f"{name}: {len(lora.weights)} layers, rank {lora.rank}, {lora.format} names"]
    if lora.trigger:
        lines.append(f"trigger: {lora.trigger}")
    if lora.unused:
        more = (
            "" if len(lora.unused) <= MAX_SHOWN else f" (and {len(lora.unused) - MAX_SHOWN} more)"
        )
        lines.append(f"did not fit: {'; '.join(lora.unused[:MAX_SHOWN])}{more}")
    return "\n".join(map(printable, [*lines, *lora.warnings]))
