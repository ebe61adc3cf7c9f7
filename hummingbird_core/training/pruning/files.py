"""Pruning of a checkpoint file into another one, tensor by tensor, without loading either."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...checkpoints.layout import (
    CUSTOM_PRESET,
    PRESET_KEY,
    StateDict,
    component_configs,
    split_components,
)
from ...errors import InputError, OutputError
from ...files import check_destination, sha256_of_file
from ...unet.model import HummingbirdUNet, UNetConfig
from ...weights.state_dict import count_parameters
from ...weights.tensor_files import ByteProgress, open_tensors, write_safetensors
from ..loop.student_file import student_metadata
from .block_map import NEW_TENSOR, BlockMap, pruned_tensors, student_config, unpruned_map

ChooseMap = Callable[[UNetConfig], BlockMap]  # from the teacher's shape


@dataclass(frozen=True)
class _Zeros:
    """A new tensor of zeros with the interface of a tensor in a file."""

    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32

    def read(self) -> Tensor:
        return torch.zeros(self.shape, dtype=self.dtype)


def prune_checkpoint(
    source: Path,
    destination: Path,
    choose_map: ChooseMap,
    *,
    dtype: torch.dtype = torch.float32,
    overwrite: bool = False,
    progress: ByteProgress | None = None,
) -> dict[str, Any]:
    """Write the initial student of a teacher, in the layout of a converted checkpoint.

    VAE and text encoder are copied if the teacher's file has them. Tensors stream through memory
    one at a time, and the file appears only when it is complete.

    Args:
        source: the teacher: any checkpoint that `load_checkpoint` takes.
        destination: name of the new file, ending in .safetensors.
        choose_map: maps the teacher's config to the block map.
        dtype: of floating-point tensors.
        overwrite: whether to replace an existing file.
        progress: called with (bytes done, total bytes) after each tensor.

    Returns:
        A record of the result: file, preset, parameters (of the U-Net), teacher,
        teacher_parameters, removed (the teacher's blocks that the student lacks), new (names of
        tensors that start at zero).

    Raises:
        CheckpointError: the source is damaged, unsafe or does not fit any model.
        InputError: the map does not fit the teacher, or both names are the same file.
        OutputError: the destination exists, or cannot be written.
    """
    _check_destination(source, destination, overwrite)
    file = open_tensors(source)
    components = split_components(file.tensors)
    configs = component_configs(file, components)
    mapping = choose_map(configs.unet)
    student = student_config(configs.unet, mapping)
    kept = pruned_tensors(components.unet, student, mapping)
    new = _new_tensors(student, kept)
    pruned = replace(components, unet={**kept, **new})
    metadata = student_metadata(file, configs, student, dtype)
    metadata["hummingbird.source_sha256"] = sha256_of_file(source)
    write_safetensors(
        destination, pruned.with_prefixes(), dtype=dtype, metadata=metadata, progress=progress
    )
    return {
        "file": str(destination),
        "preset": metadata[PRESET_KEY],
        "parameters": count_parameters(pruned.unet.values()),
        "teacher": configs.unet.preset or CUSTOM_PRESET,
        "teacher_parameters": count_parameters(components.unet.values()),
        "removed": sorted(unpruned_map(configs.unet).keys() - set(mapping.values())),
        "new": list(new),
    }


def _new_tensors(student: UNetConfig, kept: StateDict) -> StateDict:
    if NEW_TENSOR in kept:  # the teacher was itself trained with guidance as an input
        return {}
    shape = HummingbirdUNet(student, device="meta").state_dict()[NEW_TENSOR].shape
    return {NEW_TENSOR: _Zeros(tuple(shape))}


def _check_destination(source: Path, destination: Path, overwrite: bool) -> None:
    if destination.suffix != ".safetensors":
        raise OutputError(f"got {destination.name}, expected a name that ends in .safetensors")
    if destination.exists() and source.exists() and destination.samefile(source):
        raise InputError(f"got {source} as teacher and student: name the student otherwise")
    check_destination(destination, overwrite=overwrite)
