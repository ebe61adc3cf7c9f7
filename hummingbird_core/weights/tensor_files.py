"""Uniform access to weights files: named tensors, read from the disk one at a time.

Safetensors are also written one tensor at a time, so that a conversion needs memory for the largest
tensor and not for the whole model.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import CheckpointError, one_line
from ..files import ByteProgress, atomic_write
from ..inputs.text import WEB_PAGE_ADVICE, is_web_page
from .pickle.modules import Scalar, read_pickled_model

# Element types by their names in the safetensors format.
SAFETENSORS_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
METADATA_PREFIX = "hummingbird."
SAFETENSORS_NAMES = {dtype: name for name, dtype in SAFETENSORS_DTYPES.items()}

_LFS_POINTER = b"version https://git-lfs"[:9]
MAX_TENSORS = 10_000  # real models have a few thousand
MAX_HEADER = 8 << 20  # bytes; that of the released teacher has 0.3 million
MAX_TEXT = 16 << 20  # bytes of a tensor of text


class StoredTensor(Protocol):
    """A tensor in a file; only its shape and dtype are in memory."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of each dimension."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Element type as stored."""
        ...

    def read(self) -> Tensor:
        """Read the tensor from the disk, onto the CPU."""
        ...


@dataclass
class TensorFile:
    """An opened weights file.

    Attributes:
        path: the file.
        format: "safetensors" or "pickle".
        tensors: stored tensors by the file's own names.
        metadata: string pairs of a safetensors header; empty for pickles.
        hyperparameters: plain attributes of a pickled model's modules, by dotted name.
    """

    path: Path
    format: str
    tensors: Mapping[str, StoredTensor]
    metadata: dict[str, str] = field(default_factory=dict)
    hyperparameters: dict[str, Scalar] = field(default_factory=dict)


def text_tensor(text: str) -> Tensor:
    """Return metadata as a tensor, for programs that save tensors only; see `open_tensors`."""
    return torch.tensor(list(text.encode()), dtype=torch.uint8)


@dataclass(frozen=True)
class _SafetensorsTensor:
    file: Any  # safetensors' open file
    key: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    def read(self) -> Tensor:
        return self.file.get_tensor(self.key)


def open_tensors(path: str | Path) -> TensorFile:
    """Open safetensors, a state-dict pickle or a pickled model; the content decides which it is.

    In safetensors, uint8 tensors named `hummingbird.*` are text: they become metadata.

    Raises:
        CheckpointError: the file is missing, damaged, or holds no weights.
        UnsafeCheckpointError: it is a pickle that names code to run.
    """
    path = Path(path)
    head = _read_head(path)
    if _begins_safetensors(head):
        return _open_safetensors(path, int.from_bytes(head[:8], "little"))
    if head[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        model = read_pickled_model(path)
        return TensorFile(path, "pickle", model.tensors, hyperparameters=model.hyperparameters)
    raise CheckpointError(
        f"{path.name} is not a weights file: expected .safetensors, or .pt / .ckpt from torch.save"
    )


def is_safetensors(path: Path) -> bool:
    """Return whether a file begins like safetensors, whatever its suffix.

    Raises:
        CheckpointError: the file is missing or empty, or is none.
    """
    return _begins_safetensors(_read_head(path))


def _begins_safetensors(head: bytes) -> bool:
    # The header's length (at most 100 MB) in 8 bytes, then JSON.
    return head[4:] == b"\0\0\0\0{"


def _read_head(path: Path) -> bytes:
    if path.is_dir():
        raise CheckpointError(f"got folder {path}, expected a weights file: name the file in it")
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise CheckpointError(f"{path} is a pipe or device, expected a weights file: name a file")
    try:
        with path.open("rb") as file:
            start = file.read(256)
    except OSError as error:
        raise CheckpointError(
            f"cannot read {path}: {error.strerror}; check the path, or see `hummingbird download`"
        ) from error
    if not start:
        raise CheckpointError(f"{path.name} is empty, expected a weights file: get it again")
    if is_web_page(start):
        raise CheckpointError(
            f"{path.name} is a web page, expected a weights file: {WEB_PAGE_ADVICE}"
        )
    head = start[:9]
    if head == _LFS_POINTER:
        raise CheckpointError(
            f"{path.name} is a Git LFS pointer, expected the weights it stands for: get them with "
            "git lfs pull, or download the file"
        )
    return head


def _open_safetensors(path: Path, header: int) -> TensorFile:
    if header > MAX_HEADER:
        raise CheckpointError(
            f"{path.name} has a header of {header:,} bytes, expected at most {MAX_HEADER:,}: no "
            "model has more, do not use it"
        )
    try:
        file = safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path.name} is a truncated or damaged safetensors file ({one_line(error)}): get it "
            "again"
        ) from error
    keys = file.keys()
    if len(keys) > MAX_TENSORS:
        raise CheckpointError(
            f"{path.name} holds {len(keys):,} tensors, expected at most {MAX_TENSORS:,}: no model "
            "has more, do not use it"
        )
    tensors = {key: _safetensors_entry(path, file, key) for key in keys}
    texts = {key: tensors.pop(key) for key in list(tensors) if _is_text(key, tensors[key])}
    in_tensors = {key: _read_text(path, key, text) for key, text in texts.items()}
    metadata = {**(file.metadata() or {}), **in_tensors}
    return TensorFile(path, "safetensors", tensors, metadata=metadata)


def _read_text(path: Path, key: str, text: _SafetensorsTensor) -> str:
    try:
        if math.prod(text.shape) > MAX_TEXT:
            raise ValueError(f"{math.prod(text.shape):,} bytes")
        return text.read().flatten().numpy().tobytes().decode()
    except ValueError as error:
        raise CheckpointError(
            f"{path.name} holds metadata in tensors that are no text ({key}: {error}): save it "
            "again"
        ) from error


def _is_text(key: str, tensor: _SafetensorsTensor) -> bool:
    return key.startswith(METADATA_PREFIX) and tensor.dtype == torch.uint8


def _safetensors_entry(path: Path, file: Any, key: str) -> _SafetensorsTensor:
    entry = file.get_slice(key)
    dtype = SAFETENSORS_DTYPES.get(entry.get_dtype())
    if dtype is None:
        known = ", ".join(SAFETENSORS_DTYPES)
        raise CheckpointError(
            f"{path.name} holds {key} as {entry.get_dtype()}, expected one of {known}"
        )
    return _SafetensorsTensor(file, key, tuple(entry.get_shape()), dtype)


def stored_dtype(tensor: StoredTensor, dtype: torch.dtype | None) -> torch.dtype:
    """Return the dtype to cast a tensor to; integers and masks keep theirs.

    For None all tensors keep theirs, except for float8, see `computable_dtype`.
    """
    if dtype is None:
        return computable_dtype(tensor.dtype)
    return dtype if tensor.dtype.is_floating_point else tensor.dtype


def computable_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype itself; for float8, in which no layer computes, bfloat16.

    bfloat16 holds every number of both kinds of float8.
    """
    return torch.bfloat16 if dtype.is_floating_point and dtype.itemsize == 1 else dtype


def write_safetensors(
    destination: Path,
    tensors: Mapping[str, StoredTensor],
    *,
    dtype: torch.dtype,
    metadata: dict[str, str],
    progress: ByteProgress | None = None,
) -> int:
    """Write tensors to a safetensors file, reading and casting one at a time.

    Format (huggingface/safetensors, README): the header's length as 8 bytes little-endian, the
    header as JSON, then the raw little-endian elements of each tensor without gaps.

    Args:
        destination: the file; it appears only when it is complete.
        tensors: stored tensors by name.
        dtype: of the floating-point tensors in the new file; others keep theirs.
        metadata: string pairs for the header.
        progress: called with (bytes done, bytes in all) after each tensor.

    Returns:
        size of the file in bytes.

    Raises:
        CheckpointError: a tensor cannot be read, or is not finite in `dtype`.
        OutputError: the file cannot be written.
    """
    dtypes = {key: stored_dtype(tensor, dtype) for key, tensor in tensors.items()}
    _check_dtypes(dtypes)
    # Widest elements first: every tensor then starts at a multiple of its element size.
    order = sorted(tensors, key=lambda key: -dtypes[key].itemsize)
    header, total = _header(tensors, order, dtypes, metadata)
    with atomic_write(destination) as temporary, temporary.open("wb") as file:
        file.write(header)
        done = 0
        for key in order:
            done += _write_tensor(file, key, tensors[key].read(), dtypes[key])
            if progress:
                progress(done, total)
    return len(header) + total


def _check_dtypes(dtypes: dict[str, torch.dtype]) -> None:
    for key, dtype in dtypes.items():
        if dtype not in SAFETENSORS_NAMES:
            raise CheckpointError(f"{key} is {dtype}, which a safetensors file cannot hold")


def _header(
    tensors: Mapping[str, StoredTensor],
    order: list[str],
    dtypes: dict[str, torch.dtype],
    metadata: dict[str, str],
) -> tuple[bytes, int]:
    entries: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for key in order:
        start, end = end, end + math.prod(tensors[key].shape) * dtypes[key].itemsize
        entries[key] = {
            "dtype": SAFETENSORS_NAMES[dtypes[key]],
            "shape": list(tensors[key].shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)  # align the first tensor to 8 bytes
    return struct.pack("<Q", len(text)) + text, end


def _write_tensor(file: BinaryIO, key: str, tensor: Tensor, dtype: torch.dtype) -> int:
    cast = tensor.to(dtype)
    if dtype.is_floating_point and not cast.isfinite().all():
        raise CheckpointError(
            f"{key} is not finite in {str(dtype).removeprefix('torch.')}, expected finite weights: "
            "convert to bfloat16 or float32, or get the file again if that fails too"
        )
    return file.write(cast.contiguous().reshape(-1).view(torch.uint8).numpy().data)


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Read all tensors of a weights file, onto the CPU, in their stored dtype.

    Reads safetensors, state-dict pickles (also Lightning's and DeepSpeed's, without their wrappers
    and teacher) and pickled models. Nothing in the file is executed.

    Raises:
        CheckpointError: the file is missing, damaged, or not a weights file.
        UnsafeCheckpointError: it is a pickle that names code to run.
    """
    return {key: tensor.read() for key, tensor in open_tensors(path).tensors.items()}
