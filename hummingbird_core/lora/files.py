"""Files of LoRAs: tensors by name or as a list, whatever the file's suffix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import CheckpointError
from ..weights.pickle.plain import read_plain
from ..weights.tensor_files import computable_dtype, is_safetensors, open_tensors

Content = dict[str, Tensor] | list[Any]


def read_lora_file(file: Path) -> tuple[Content, dict[str, str]]:
    """Read the tensors of a file, by name or as a list, and its metadata.

    Raises:
        CheckpointError: the file is missing or damaged, or holds neither.
    """
    if not file.exists():
        raise CheckpointError(f"got no file {file}, expected a LoRA: check the path")
    if is_safetensors(file):
        opened = open_tensors(file)
        tensors = {key: tensor.read() for key, tensor in opened.tensors.items()}
        return _computable(tensors), opened.metadata
    try:
        content = read_plain(file)
    except CheckpointError as error:
        raise CheckpointError(
            f"got {file.name}, which is damaged or holds more than tensors (none of it was run), "
            f"expected a LoRA of tensors only: get the file again ({error})"
        ) from error
    return _named_or_list(content, file), {}


def _named_or_list(content: Any, file: Path) -> Content:
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if isinstance(content, dict):
        named = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
        return _computable(named)
    if isinstance(content, list | tuple):
        return list(_computable(dict(enumerate(content))).values())
    raise CheckpointError(
        f"got {type(content).__name__} in {file.name}, expected tensors with names or in "
        "a list: check that it is a LoRA"
    )


def _computable(values: dict[Any, Any]) -> dict[Any, Any]:
    """Return the values with float8 tensors, in which nothing can be computed, as bfloat16."""
    return {
        key: value.to(computable_dtype(value.dtype)) if isinstance(value, Tensor) else value
        for key, value in values.items()
    }
