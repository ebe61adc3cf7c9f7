"""Files from `torch.save` that hold tensors and plain data only, read whole into memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import CheckpointError
from .archive import read_pickle
from .machine import Stub
from .modules import MAX_DEPTH, MAX_NODES
from .names import Global
from .tensors import LazyTensor, Storage


def read_plain(path: Path) -> Any:
    """Read the object in a file from `torch.save`: tensors, containers, numbers and texts.

    Raises:
        CheckpointError: the file is damaged, holds anything else, or describes more than its size.
    """
    root = read_pickle(path)
    _check(root, path)
    return _read(root)


def _check(root: Any, path: Path) -> None:
    """Check all values, and count the bytes of the tensors, before any is read."""
    pending, visited = [(root, 0)], 0
    while pending:
        value, depth = pending.pop()
        if isinstance(value, LazyTensor):
            value.count()
        if isinstance(value, Stub | Global | Storage):
            raise CheckpointError(
                f"{path.name} holds more than tensors and plain data: do not use it"
            )
        children = _children(value)
        visited += 1 + len(children)
        if visited > MAX_NODES or depth > MAX_DEPTH:
            raise CheckpointError(
                f"{path.name} nests more than {MAX_DEPTH} levels or {MAX_NODES:,} values: do not "
                "use it"
            )
        pending.extend((child, depth + 1) for child in children)


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, list | tuple) else []


def _read(value: Any) -> Any:
    if isinstance(value, LazyTensor):
        return value.read()
    if isinstance(value, dict):
        return {key: _read(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_read(item) for item in value)
    return value
