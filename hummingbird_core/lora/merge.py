"""Loading, merging, saving and converting LoRAs of the U-Net.

Merging n LoRAs with strengths s_i sets the weight of a layer to

    W' = W + sum_i s_i (alpha_i / r_i) B_i A_i

from a copy of the original W, so that undoing a merge restores W bit by bit. The formats and shapes
are in `formats.py`, the trainable layers in `layers.py`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save
from torch import Tensor, nn

from ..errors import CheckpointError, InputError
from ..files import atomic_write, check_destination
from ..terminal import get_logger
from ..unet.model import PRESETS, HummingbirdUNet, UNetConfig
from .files import read_lora_file
from .formats import (
    GUIDANCE_LAYER,
    LoRA,
    LoRAWeight,
    comfyui_tensors,
    format_of,
    lora_targets,
    peft_config,
    peft_tensors,
    read_flat,
    read_named,
)
from .metadata import other_base
from .settings import header_settings, read_peft_settings

__all__ = ["LoRA", "LoRAWeight", "convert_lora", "load_lora", "merge_lora", "save_lora"]

logger = get_logger(__name__)

MAX_STRENGTH = 100  # as in ComfyUI's nodes
PEFT_WEIGHTS, PEFT_CONFIG = "adapter_model.safetensors", "adapter_config.json"


def load_lora(path: str | Path, unet: HummingbirdUNet) -> LoRA:
    """Read a LoRA in any known format and match it to a U-Net, which is not changed.

    Args:
        path: a .safetensors or .pt file, or a folder that PEFT saved.
        unet: the U-Net to match it to.

    Returns:
        the matching weights; `.unused` lists all other tensors, with reasons.

    Raises:
        CheckpointError: the file is damaged, is no LoRA, or matches no layer of this U-Net.
    """
    path = Path(path)
    config_path = (path if path.is_dir() else path.parent) / PEFT_CONFIG
    file = path / PEFT_WEIGHTS if path.is_dir() else path
    content, metadata = read_lora_file(file)
    if isinstance(content, dict):
        is_peft = file.name == PEFT_WEIGHTS and config_path.is_file()
        settings = (
            read_peft_settings(config_path)
            if is_peft
            else header_settings(metadata, format_of(content) == "kohya")
        )
        lora = read_named(content, unet, settings)
    else:
        lora = read_flat(content, unet)
    _check_any_fits(lora, file)
    _check_finite(lora, file)
    _warn_of_untrained_guidance(lora, unet)
    lora.metadata = metadata
    if warning := other_base(lora.metadata, unet):
        lora.warnings.append(warning)
    for warning in lora.warnings:
        logger.warning("%s: %s", file.name, warning)
    return lora


def merge_lora(unet: HummingbirdUNet, lora: LoRA, strength: float = 1.0) -> None:
    """Add `strength` times a LoRA to the weights of a U-Net, in place: W' = W + s (alpha / r) B A.

    Strengths of the same LoRA add up, so -1.0 undoes 1.0; several LoRAs can be merged and undone in
    any order. Once the strengths of all LoRAs of a layer are back at zero, its weight is restored
    bit by bit, from a copy of the original on the CPU in `unet.lora_stack`. Delete that attribute
    to make the merge permanent and free the memory, and before loading other weights into the
    U-Net.

    Args:
        unet: model with weights of any float dtype; sums are computed in fp32.
        lora: result of `load_lora` for this U-Net.
        strength: s, -100 to 100.

    Raises:
        InputError: `strength` is out of range.
        CheckpointError: the LoRA was made for another U-Net, or its sum with a weight is not
            finite; the U-Net stays unchanged.
    """
    if not abs(strength) <= MAX_STRENGTH:
        raise InputError(
            f"got LoRA strength {strength}, expected a finite number from -{MAX_STRENGTH} to "
            f"{MAX_STRENGTH}: try 1.0"
        )
    layers = lora_targets(unet)
    _check_fits(lora, layers)
    stack: LoRAStack = vars(unet).setdefault("lora_stack", LoRAStack())
    try:
        _write_all(stack, lora, strength, layers)
    except CheckpointError:
        _write_all(stack, lora, -strength, layers)
        raise
    finally:
        if not stack.merged:
            del unet.lora_stack


def _write_all(stack: LoRAStack, lora: LoRA, strength: float, layers: dict[str, nn.Module]) -> None:
    stack.add(lora, strength)
    for name in lora.weights:
        stack.write(name, layers[name].get_parameter("weight"))


def merge_into_submodule(
    unet: HummingbirdUNet, submodule: str, loras: Iterable[tuple[LoRA, float]]
) -> None:
    """Merge LoRAs into one submodule of a U-Net permanently, without copies to undo it.

    Used while a U-Net is loaded, and quantized or offloaded, submodule by submodule.

    Args:
        unet: model to change in place.
        submodule: name of the submodule, such as "input_blocks.3".
        loras: LoRAs with their strengths.
    """
    for lora, strength in loras:
        names = [name for name in lora.weights if f"{name}.".startswith(f"{submodule}.")]
        merge_lora(unet, replace(lora, weights={n: lora.weights[n] for n in names}), strength)
    vars(unet).pop("lora_stack", None)


@dataclass
class MergedLoRA:
    """A LoRA with the sum of its merged strengths."""

    lora: LoRA
    strength: float


@dataclass
class LoRAStack:
    """LoRAs merged into a U-Net, and the original weights of the changed layers.

    The originals are kept because adding and then subtracting a product is not exact in floating
    point.

    Attributes:
        merged: LoRAs of nonzero total strength.
        originals: original weights on the CPU, by layer.
    """

    merged: list[MergedLoRA] = field(default_factory=list)
    originals: dict[str, Tensor] = field(default_factory=dict)

    def add(self, lora: LoRA, strength: float) -> None:
        """Add to a LoRA's strength; remove the LoRA if its strengths sum to zero."""
        entry = next((m for m in self.merged if _is_same(m.lora, lora)), None)
        if entry is None:
            entry = MergedLoRA(lora, 0.0)
            self.merged.append(entry)
        entry.strength += strength
        if math.isclose(entry.strength, 0.0, abs_tol=1e-9):  # 0.1 + 0.2 - 0.3 is not quite 0
            self.merged = [m for m in self.merged if m is not entry]

    @torch.no_grad()
    def write(self, name: str, weight: Tensor) -> None:
        """Set a layer's weight to the original plus all merged changes, in place.

        Raises:
            CheckpointError: the sum is not finite; the weight stays unchanged.
        """
        active = [m for m in self.merged if name in m.lora.weights]
        if not active:
            if name in self.originals:
                weight.copy_(self.originals.pop(name))
            return
        if name not in self.originals:
            self.originals[name] = weight.detach().to("cpu", copy=True)
        merged, *others = (m.strength * m.lora.weights[name].delta(weight) for m in active)
        for other in (*others, self.originals[name].to(merged)):
            merged += other  # in place: weights of a large model take long to allocate
        merged = merged.to(weight.dtype)
        if not merged.isfinite().all():
            raise CheckpointError(
                f"got a LoRA that makes {name} infinite in {weight.dtype}, expected finite "
                "weights: choose a lower strength"
            )
        weight.copy_(merged)


def save_lora(
    lora: LoRA,
    destination: str | Path,
    format: Literal["comfyui", "peft"] = "comfyui",
    *,
    overwrite: bool = False,
) -> None:
    """Write a LoRA; the file appears only when it is complete.

    Args:
        lora: the LoRA to write.
        destination: a .safetensors file, or for "peft" a folder.
        format: "comfyui" for ComfyUI's stock LoRA nodes, "peft" for `peft` and `diffusers`.
        overwrite: whether to replace an existing file.

    Raises:
        InputError: the format is unknown.
        OutputError: the file exists already, or cannot be written.
    """
    destination = Path(destination)
    if format == "comfyui":
        metadata = {**lora.metadata, "format": "pt"}
        _write(destination, save(comfyui_tensors(lora), metadata), overwrite)
    elif format == "peft":
        config = json.dumps({"peft_type": "LORA", **peft_config(lora)}, indent=2)
        _write(destination / PEFT_CONFIG, config.encode(), overwrite)
        metadata = {**lora.metadata, "format": "pt"}
        _write(destination / PEFT_WEIGHTS, save(peft_tensors(lora), metadata), overwrite)
    else:
        raise InputError(f"got LoRA format {format!r}, expected 'comfyui' or 'peft': choose one")


def convert_lora(
    source: str | Path,
    destination: str | Path,
    unet: HummingbirdUNet,
    format: Literal["comfyui", "peft"] = "comfyui",
    *,
    overwrite: bool = False,
) -> LoRA:
    """Read a LoRA of any format and write it in another.

    Args:
        source: file or folder for `load_lora`.
        destination: file or folder for `save_lora`.
        unet: the U-Net to match it to; only names and shapes are used, so it may be on "meta".
        format: "comfyui" or "peft", see `save_lora`.
        overwrite: whether to replace an existing file.

    Returns:
        the LoRA; `.unused` lists the tensors that were left out.

    Raises:
        CheckpointError: the source cannot be read, see `load_lora`.
        OutputError: the destination exists already, or cannot be written.
    """
    lora = load_lora(source, unet)
    save_lora(lora, destination, format, overwrite=overwrite)
    return lora


def _check_any_fits(lora: LoRA, file: Path) -> None:
    if not lora.weights:
        first = lora.unused[0] if lora.unused else "it is empty"
        raise CheckpointError(
            f"got {file.name}, of which nothing fits this U-Net ({first}), expected a LoRA made "
            "for it: choose another file or model"
        )


def _check_finite(lora: LoRA, file: Path) -> None:
    for name, weight in lora.weights.items():
        if not (weight.up.isfinite().all() and weight.down.isfinite().all()):
            raise CheckpointError(
                f"got NaN or infinity for {name} in {file.name}, expected numbers: get it again"
            )
        if weight.bound > torch.finfo(torch.float32).max:
            raise CheckpointError(
                f"got numbers for {name} in {file.name} whose product is beyond float32, expected "
                "smaller ones: get it again"
            )


def _warn_of_untrained_guidance(lora: LoRA, unet: HummingbirdUNet) -> None:
    left_out = [entry for entry in lora.unused if GUIDANCE_LAYER in entry]
    if left_out:
        lora.warnings.append(f"its part for the guidance scale is not used: {left_out[0]}")
    elif GUIDANCE_LAYER in lora.weights and _is_published_without_guidance(unet.config):
        lora.warnings.append(
            f"it changes {GUIDANCE_LAYER}, whose base weight no released teacher holds: unless you "
            "loaded a trained one, the output is random; take a teacher without that layer"
        )


def _is_published_without_guidance(config: UNetConfig) -> bool:
    """Return whether the preset of this shape has no guidance input, as teachers have none."""
    preset = PRESETS.get(config.preset or "")
    return preset is not None and not preset.guidance_embedding


def _check_fits(lora: LoRA, layers: dict[str, torch.nn.Module]) -> None:
    for name, (up, down, _) in lora.weights.items():
        layer = layers.get(name)
        shape = (up.shape[0], *down.shape[1:])
        if layer is None or tuple(layer.get_parameter("weight").shape) != shape:
            raise CheckpointError(
                f"got a LoRA for {name} of shape {shape}, which this U-Net lacks: "
                "load the LoRA again with this U-Net"
            )


def _is_same(a: LoRA, b: LoRA) -> bool:
    """Return whether two LoRAs hold equal numbers, for one that was loaded twice."""
    if a is b:
        return True
    return a.weights.keys() == b.weights.keys() and all(
        x.scale == (y := b.weights[name]).scale
        and torch.equal(x.up, y.up)
        and torch.equal(x.down, y.down)
        for name, x in a.weights.items()
    )


def _write(destination: Path, content: bytes, overwrite: bool) -> None:
    check_destination(destination, overwrite=overwrite)
    with atomic_write(destination) as temporary:
        temporary.write_bytes(content)
