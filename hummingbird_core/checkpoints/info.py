"""Description of a checkpoint from its headers, without reading its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..weights.state_dict import count_parameters
from ..weights.tensor_files import open_tensors
from .layout import (
    CONFIG_KEY,
    WEIGHTS_VERSION_KEY,
    Components,
    checkpoint_file,
    component_configs,
    preset_name,
    split_components,
)

LORA_DOWN = (".lora_down.weight", ".lora_A.weight")  # ends of names in kohya's and PEFT's files


def checkpoint_info(path: str | Path) -> dict[str, Any]:
    """Describe a checkpoint, from its headers alone; every value can be written as JSON.

    Returns:
        file, size_bytes, format ("safetensors" or "pickle"), converted, preset (None if no model
        matches), problem (the reason, else None), parameters (per model), dtypes, metadata. Of a
        LoRA, also lora: its number of layers and its highest rank. Of a file that names it, also
        weights_version.

    Raises:
        CheckpointError: the file is missing, damaged, unsafe or not a weights file.
    """
    file = open_tensors(checkpoint_file(Path(path)))
    components = split_components(file.tensors)
    preset, problem = None, None
    try:
        preset = preset_name(file, component_configs(file, components))
    except CheckpointError as error:
        problem = str(error)
    lora = _lora_facts(file.tensors)
    version = file.metadata.get(WEIGHTS_VERSION_KEY)
    dtypes = {str(t.dtype).removeprefix("torch.") for t in components.with_prefixes().values()}
    return {
        "file": file.path.name,
        "size_bytes": file.path.stat().st_size,
        "format": file.format,
        "converted": CONFIG_KEY in file.metadata,
        "preset": preset,
        **({"weights_version": version} if version else {}),
        "problem": None if lora else problem,
        **({"lora": lora} if lora else {}),
        "parameters": _parameters_by_model(components),
        "dtypes": sorted(dtypes),
        "metadata": file.metadata,
    }


def _lora_facts(tensors: Mapping[str, Any]) -> dict[str, int]:
    """Return layers and rank of a LoRA's tensors; {} of other files."""
    ranks = [t.shape[0] for name, t in tensors.items() if name.endswith(LORA_DOWN)]
    return {"layers": len(ranks), "rank": max(ranks)} if ranks else {}


def _parameters_by_model(components: Components) -> dict[str, int]:
    models = {"unet": components.unet, "vae": components.vae, "text_encoder": components.text}
    return {name: count_parameters(tensors.values()) for name, tensors in models.items()}
