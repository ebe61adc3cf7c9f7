"""Tensors that stay in their file until they are read: then the bytes of that tensor only."""

from __future__ import annotations

import math
import struct
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import CheckpointError

MAX_INDEX = 1 << 40  # elements; no storage is larger
MAX_DIMENSIONS = 16
MAX_REPEATED = 4  # bytes of tensors for each byte of the file; tied weights need 2


class Archive(ABC):
    """A file from torch.save: one pickle, and the bytes of the storages that it refers to.

    Attributes:
        path: the file.
        size: its bytes.
        itemsizes: bytes per element of each storage that the pickle named, by key.
        described: bytes of all tensors that were found in the pickle, repetitions included.
    """

    def __init__(self, path: Path):
        self.path = path
        self.size = path.stat().st_size
        self.itemsizes: dict[str, int] = {}
        self.described = 0

    @abstractmethod
    def load(self) -> Any:
        """Unpickle the root object as plain containers, `LazyTensor` and `Stub`."""

    def read_bytes(self, key: str, start: int, length: int) -> Tensor:
        """Read `length` bytes of storage `key` from byte `start`, as uint8 `[length]`."""
        self._check_size()
        try:
            position, size = self.locate(key)
            size = min(size, max(self.path.stat().st_size - position, 0))
            data = torch.empty(min(length, size), dtype=torch.uint8)
            with self.path.open("rb") as file:
                file.seek(position + start)
                is_complete = start + length <= size and file.readinto(data.numpy().data) == length
        except (OSError, LookupError, OverflowError, struct.error):
            is_complete = False
        if not is_complete:
            raise CheckpointError(
                f"{self.path.name} lacks bytes of tensor storage {key[:100]}: it is truncated or "
                "damaged, get it again"
            )
        return data

    def _check_size(self) -> None:
        """Refuse tensors much larger than the file: views and `expand` can repeat its numbers."""
        if self.described > MAX_REPEATED * self.size:
            raise CheckpointError(
                f"{self.path.name} of {self.size:,} bytes repeats its numbers to tensors of "
                f"{self.described:,} bytes: no model does, do not use it"
            )

    @abstractmethod
    def locate(self, key: str) -> tuple[int, int]:
        """Return the position in the file and the length, in bytes, of storage `key`."""


@dataclass(frozen=True, eq=False)
class Storage:
    """Storage that a pickled tensor refers to: its element type and key in the archive."""

    dtype: torch.dtype
    key: str


@dataclass(frozen=True, eq=False)
class LazyTensor:
    """A tensor that is still in its file; `offset` and `stride` are in elements, as in PyTorch."""

    archive: Archive
    key: str
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def count(self) -> None:
        """Count the bytes that this tensor takes in memory among those of the archive."""
        self.archive.described += math.prod(self.shape) * self.dtype.itemsize

    def read(self) -> Tensor:
        """Read this tensor's bytes, onto the CPU whatever device it was saved from.

        Raises:
            CheckpointError: the bytes are not in the file.
        """
        size = self.dtype.itemsize
        data = self.archive.read_bytes(self.key, self.offset * size, self._span() * size)
        return data.view(self.dtype).as_strided(self.shape, self.stride)

    def _span(self) -> int:
        """Return the number of elements from the first to the last one in the storage.

        span = 1 + sum_i (n_i - 1) s_i for sizes n and strides s; 0 for an empty tensor.
        """
        if math.prod(self.shape) == 0:
            return 0
        return 1 + sum((n - 1) * s for n, s in zip(self.shape, self.stride, strict=True))


def lazy_tensor(
    archive: Archive, storage: Any, dtype: Any, offset: Any, shape: Any, stride: Any
) -> LazyTensor:
    """Return the tensor that a pickle describes.

    Raises:
        ValueError: there can be no such tensor.
    """
    if not isinstance(storage, Storage) or not isinstance(dtype, torch.dtype):
        raise ValueError("a tensor without storage")
    shape, stride = _sizes(shape), _sizes(stride)
    (offset,) = _sizes([offset])
    if len(shape) != len(stride) or math.prod(n for n in shape if n) > MAX_INDEX:
        raise ValueError("an impossible shape of a tensor")
    return LazyTensor(archive, storage.key, dtype, offset, shape, stride)


def _sizes(values: Any) -> tuple[int, ...]:
    if not isinstance(values, tuple | list) or len(values) > MAX_DIMENSIONS:
        raise ValueError("a tensor with an impossible number of dimensions")
    if not all(isinstance(n, int) and 0 <= n <= MAX_INDEX for n in values):
        raise ValueError("impossible sizes of a tensor")
    return tuple(values)
