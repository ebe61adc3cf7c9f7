"""The file of a trained student, which loads like a released checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ...checkpoints.convert import weights_license
from ...checkpoints.layout import (
    CONFIG_KEY,
    CUSTOM_PRESET,
    LICENSE_KEY,
    PRESET_KEY,
    UNET_PREFIX,
    WEIGHTS_VERSION_KEY,
    ComponentConfigs,
    component_configs,
    split_components,
)
from ...files import check_destination
from ...unet.model import HummingbirdUNet, UNetConfig
from ...weights.tensor_files import TensorFile, open_tensors, write_safetensors

STUDENT_DTYPE = torch.float16  # the precision the released models run in


@dataclass(frozen=True)
class _InMemory:
    """A tensor in memory with the interface of one in a file."""

    tensor: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape)

    @property
    def dtype(self) -> torch.dtype:
        return self.tensor.dtype

    def read(self) -> Tensor:
        return self.tensor.detach().cpu()


def write_student(unet: HummingbirdUNet, teacher: Path, destination: Path) -> None:
    """Write `unet` with the VAE and the text encoder of its teacher's file, in fp16.

    Replaces an older file of that name once the new one is complete.

    Raises:
        CheckpointError: a weight is not finite in fp16.
        OutputError: the file cannot be written.
    """
    check_destination(destination, overwrite=True)
    file = open_tensors(teacher)
    components = split_components(file.tensors)
    tensors = replace(
        components,
        unet={key: _InMemory(value) for key, value in unet.state_dict().items()},
        unet_prefix=UNET_PREFIX,
    )
    configs = component_configs(file, components)
    metadata = student_metadata(file, configs, unet.config, STUDENT_DTYPE)
    write_safetensors(destination, tensors.with_prefixes(), dtype=STUDENT_DTYPE, metadata=metadata)


def student_metadata(
    file: TensorFile, teacher: ComponentConfigs, student: UNetConfig, dtype: torch.dtype
) -> dict[str, str]:
    """Return the metadata of the teacher's file, with preset and config of the student's U-Net."""
    # The version of the teacher's weights says nothing about those of the student.
    kept = {key: value for key, value in file.metadata.items() if key != WEIGHTS_VERSION_KEY}
    return {
        LICENSE_KEY: weights_license(file, teacher),
        **kept,
        "format": "pt",
        PRESET_KEY: student.preset or CUSTOM_PRESET,
        CONFIG_KEY: replace(teacher, unet=student).to_json(),
        "hummingbird.source": file.path.name,
        "hummingbird.dtype": str(dtype).removeprefix("torch."),
    }
