"""Conversion of a checkpoint to one safetensors file, tensor by tensor.

    convert_checkpoint("07B_merged_all.pt", "hummingbird.safetensors")

A converted file keeps the checkpoint's own key names. Its metadata:

| key                           | value                                                      |
|-------------------------------|------------------------------------------------------------|
| `hummingbird.preset`          | name of the U-Net's shape, or "custom"                     |
| `hummingbird.source`          | name of the file it was converted from                     |
| `hummingbird.source_sha256`   | SHA-256 of that file                                       |
| `hummingbird.licence`         | terms of the weights                                       |
| `hummingbird.dtype`           | of the floating-point tensors                              |
| `hummingbird.config`          | JSON: settings that the shapes do not determine            |
| `hummingbird.tokenizer`       | JSON of the tokenizer; absent for CLIP's                   |
| `hummingbird.weights_version` | of a model trained anew under one name; absent for others  |
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..errors import InputError, OutputError
from ..files import ByteProgress, check_destination, sha256_of_file
from ..hub.download import CATALOG
from ..weights.state_dict import count_parameters
from ..weights.tensor_files import TensorFile, open_tensors, write_safetensors
from .layout import (
    CONFIG_KEY,
    LICENSE_KEY,
    PRESET_KEY,
    ComponentConfigs,
    checkpoint_file,
    component_configs,
    preset_name,
    split_components,
)


def convert_checkpoint(
    source: str | Path,
    destination: str | Path,
    dtype: torch.dtype = torch.float16,
    overwrite: bool = False,
    progress: ByteProgress | None = None,
) -> dict[str, Any]:
    """Convert a checkpoint to one safetensors file that any tool can load safely.

    Tensors stream through memory one at a time. Tensors that generation does not use (schedule
    tables, vision tower, teacher) are left out. The file appears only when it is complete.

    Args:
        source: any checkpoint that `load_checkpoint` reads.
        destination: name of the new file, ending in .safetensors.
        dtype: of the floating-point tensors.
        overwrite: whether to replace an existing file of that name.
        progress: called with (bytes done, bytes in all) after each tensor.

    Returns:
        a summary: file, preset, tensors, parameters, size_bytes, source_sha256, dropped.

    Raises:
        CheckpointError: the source is damaged, unsafe or does not match any model.
        InputError: `dtype` is not a floating-point type, or both names are the same file.
        OutputError: the destination exists, or cannot be written.
    """
    source, destination = checkpoint_file(Path(source)), Path(destination)
    file = open_tensors(source)
    _check_arguments(source, destination, dtype)
    check_destination(destination, overwrite=overwrite)
    components = split_components(file.tensors)
    metadata = _metadata(file, component_configs(file, components), dtype)
    tensors = components.with_prefixes()
    size = write_safetensors(
        destination, tensors, dtype=dtype, metadata=metadata, progress=progress
    )
    return {
        "file": str(destination),
        "preset": metadata[PRESET_KEY],
        "tensors": len(tensors),
        "parameters": count_parameters(tensors.values()),
        "size_bytes": size,
        "source_sha256": metadata["hummingbird.source_sha256"],
        "dropped": len(file.tensors) - len(tensors),
    }


def _check_arguments(source: Path, destination: Path, dtype: torch.dtype) -> None:
    if not dtype.is_floating_point or dtype.itemsize < 2:
        raise InputError(f"got dtype {dtype}, expected float16, bfloat16 or float32: choose one")
    if destination.suffix != ".safetensors":
        raise OutputError(f"got {destination.name}, expected a name that ends in .safetensors")
    if destination.exists() and destination.samefile(source):
        raise InputError(f"got {source} as source and destination: choose another destination")


def license_of(source: str | Path) -> str:
    """Return the terms of a checkpoint's weights, for files made from them.

    Raises:
        CheckpointError: the source is damaged, unsafe or does not match any model.
    """
    file = open_tensors(checkpoint_file(Path(source)))
    return weights_license(file, component_configs(file, split_components(file.tensors)))


def weights_license(file: TensorFile, configs: ComponentConfigs) -> str:
    """Return the terms stored in a file, else those of the released model of its shape."""
    released = CATALOG.get(preset_name(file, configs))
    return file.metadata.get(
        LICENSE_KEY, released.license if released else "that of the source file"
    )


def _metadata(file: TensorFile, configs: ComponentConfigs, dtype: torch.dtype) -> dict[str, str]:
    return {
        LICENSE_KEY: weights_license(file, configs),
        **file.metadata,  # of an already converted source, such as its tokenizer
        "format": "pt",
        PRESET_KEY: preset_name(file, configs),
        CONFIG_KEY: configs.to_json(),
        "hummingbird.source": file.path.name,
        "hummingbird.source_sha256": sha256_of_file(file.path),
        "hummingbird.dtype": str(dtype).removeprefix("torch."),
    }
