"""Tensors of a pickled model under the names that `state_dict()` would give them.

Supports whole models (stubs of `torch.nn` modules hold their `_parameters`, `_buffers` and
`_modules`), state dicts, plain containers of tensors, and the wrappers of training frameworks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import CheckpointError
from .archive import read_pickle
from .machine import Stub
from .tensors import LazyTensor

WRAPPER_KEYS = ("state_dict", "module", "model")  # Lightning, DeepSpeed, common scripts
DEEPSPEED_PREFIX_LENGTH = 16  # "_forward_module."
MAX_DEPTH = 64  # nesting of modules; real models stay below 20
MAX_NODES = 150_000  # modules, tensors and attributes; whole pickled models have some 50,000
MAX_NAME = 1000  # letters of a tensor's name with those of its modules

Scalar = bool | int | float | str
_NODES = (LazyTensor, Stub, dict, list, tuple)


@dataclass
class PickledModel:
    """Content of a pickle: tensors by name, and the plain attributes of its modules.

    Attributes:
        tensors: lazily read tensors, by the names of `state_dict()`.
        hyperparameters: plain attributes of the modules by dotted name, such as the number of
            attention heads, which no tensor's shape determines.
    """

    tensors: dict[str, LazyTensor] = field(default_factory=dict)
    hyperparameters: dict[str, Scalar] = field(default_factory=dict)


def read_pickled_model(path: Path) -> PickledModel:
    """Read the structure of a file from `torch.save`; the tensors stay on the disk.

    Raises:
        CheckpointError: the file is damaged, unsafe, or holds no tensor.
    """
    root, wrapper = _unwrap(read_pickle(path))
    model = _collect(root)
    if not model.tensors:
        raise CheckpointError(f"{path.name} holds no tensors, expected a model or state dict")
    if wrapper == "module":
        model.tensors = _student_tensors(model.tensors)
    return model


def _unwrap(root: Any) -> tuple[Any, str]:
    """Return the model in a training checkpoint and its key there; "" without a wrapper."""
    if isinstance(root, dict):
        for key in WRAPPER_KEYS:
            if isinstance(root.get(key), dict | Stub):
                return root[key], key
    return root, ""


def _student_tensors(tensors: dict[str, LazyTensor]) -> dict[str, LazyTensor]:
    """Strip DeepSpeed's wrapper prefix, and drop the teacher of a distillation."""
    prefix = next(iter(tensors))[:DEEPSPEED_PREFIX_LENGTH]
    if prefix.endswith(".") and all(key.startswith(prefix) for key in tensors):
        tensors = {key.removeprefix(prefix): tensor for key, tensor in tensors.items()}
    return {key: tensor for key, tensor in tensors.items() if not key.startswith("teacher")}


def _collect(root: Any) -> PickledModel:
    """Walk modules and containers in the order of `state_dict()`.

    The walk is iterative and limited in depth and nodes, because a small pickle can describe an
    endless model: a module that contains itself, or one shared twice at each of many levels.
    """
    model, pending, visited = PickledModel(), [("", root, 0)], 0
    while pending:
        name, value, depth = pending.pop()
        if isinstance(value, LazyTensor):
            value.count()
            model.tensors[name] = value
            continue
        children = list(_children(value))
        visited += 1 + len(children) + (len(value.state) if isinstance(value, Stub) else 0)
        _check_limits(visited, depth, name)
        prefix = f"{name}." if name else ""
        if isinstance(value, Stub):
            model.hyperparameters.update(_scalars(prefix, value))
        pending.extend(
            (f"{prefix}{key}", child, depth + 1)
            for key, child in reversed(children)
            if isinstance(key, str | int) and isinstance(child, _NODES)
        )
    return model


def _check_limits(visited: int, depth: int, name: str) -> None:
    if visited > MAX_NODES or depth > MAX_DEPTH or len(name) > MAX_NAME:
        raise CheckpointError(
            f"the pickle nests more than {MAX_DEPTH} levels or {MAX_NODES:,} modules, or has names "
            f"of more than {MAX_NAME} letters: no model does, do not use it"
        )


def _scalars(prefix: str, stub: Stub) -> dict[str, Scalar]:
    return {
        f"{prefix}{key}": value
        for key, value in stub.state.items()
        if isinstance(key, str) and isinstance(value, bool | int | float | str)
    }


def _children(value: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(value, dict):
        return value.items()
    if isinstance(value, list | tuple):
        return enumerate(value)
    return _module_children(value) if isinstance(value, Stub) else ()


def _module_children(stub: Stub) -> Iterable[tuple[Any, Any]]:
    """Yield parameters, persistent buffers and submodules, then a mapping's entries."""
    temporary = stub.state.get("_non_persistent_buffers_set")
    temporary = temporary if isinstance(temporary, set) else ()
    for group in ("_parameters", "_buffers", "_modules"):
        members = stub.state.get(group)
        if isinstance(members, dict):
            yield from ((k, v) for k, v in members.items() if k not in temporary)
    yield from stub.entries.items()
