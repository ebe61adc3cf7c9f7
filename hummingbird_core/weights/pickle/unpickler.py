"""Weights-only unpickler: tensors and plain data from PyTorch pickles, without running code.

A pickle is a small program whose instructions name Python callables; `torch.load` on a whole
pickled model therefore imports and runs whatever the file names. torch's own weights-only unpickler
rejects such files. This one reads them: a name that is not a tensor, a storage or a plain container
becomes an inert `Stub`, which only records its state (`modules.py` collects the tensors from the
stubs).

Tensors stay in the file until `LazyTensor.read()`, which reads the bytes of that tensor only.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
import struct
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from ...errors import CheckpointError, UnsafeCheckpointError

MAX_INDEX = 1 << 40  # elements; no storage is larger
MAX_EXPANDED = 1 << 24  # elements of a tensor that repeats its storage, as `expand` does

# No model needs these names. As stubs they would be harmless, but a file that contains one is an
# attack, and the user should know.
CODE_RUNNERS = re.compile(
    r"""
    ( os | posix | nt | sys | subprocess | shutil | socket | ctypes | _ctypes | importlib | imp
    | runpy | pty | popen2 | webbrowser | codeop | pdb | bdb | timeit | marshal | pickle | _pickle
    | cPickle | urllib | requests | pip | torch\.(load | hub | serialization | utils\.cpp_extension)
    | commands\.get\w+ | code\.Interactive\w+ | code\.interact | types\.(Code | Function)Type
    | _?io\.(open | FileIO)
    | builtins\.(eval | exec | execfile | compile | open | file | input | raw_input | __import__
      | breakpoint | setattr | delattr | globals | locals | apply | reload | exit | quit)
    ) (\. | $)
    """,
    re.VERBOSE,
)
PYTHON2_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg"}

TORCH_DTYPES = {f"torch.{k}": v for k, v in vars(torch).items() if isinstance(v, torch.dtype)}
# Element type of each storage class; an untyped storage counts bytes.
STORAGES = {
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
    "torch.ComplexFloatStorage": torch.complex64,
    "torch.ComplexDoubleStorage": torch.complex128,
    "torch.UntypedStorage": torch.uint8,
    "torch.storage.UntypedStorage": torch.uint8,
}
CONTAINERS = {
    "collections.OrderedDict": OrderedDict,
    "torch.Size": tuple,
    "builtins.long": int,
    **{
        f"builtins.{kind.__name__}": kind
        for kind in (dict, list, tuple, set, frozenset, int, float, bool, str, complex)
    },
}


class Archive(ABC):
    """A file from torch.save: one pickle, and the bytes of the storages that it refers to.

    Attributes:
        path: the file.
        itemsizes: bytes per element of each storage that the pickle named, by key.
    """

    def __init__(self, path: Path):
        self.path = path
        self.itemsizes: dict[str, int] = {}

    @abstractmethod
    def load(self) -> Any:
        """Unpickle the root object as plain containers, `LazyTensor` and `Stub`."""

    def read_bytes(self, key: str, start: int, length: int) -> Tensor:
        """Read `length` bytes of storage `key` from byte `start`, as uint8 `[length]`."""
        try:
            position, size = self.locate(key)
            size = min(size, max(self.path.stat().st_size - position, 0))
            data = torch.empty(min(length, size), dtype=torch.uint8)
            with self.path.open("rb") as file:
                file.seek(position + start)
                is_complete = start + length <= size and file.readinto(data.numpy().data) == length
        except (OSError, LookupError, struct.error):
            is_complete = False
        if not is_complete:
            raise CheckpointError(
                f"{self.path.name} lacks bytes of tensor storage {key}: it is truncated or "
                "damaged, get it again"
            )
        return data

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

    def __setstate__(self, state: object) -> None:
        raise CheckpointError("a pickle tries to change a tensor after making it: do not use it")

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
        count = math.prod(self.shape)
        if count == 0:
            return 0
        span = 1 + sum((n - 1) * s for n, s in zip(self.shape, self.stride, strict=True))
        if count > max(span, MAX_EXPANDED):
            raise CheckpointError(
                f"{self.archive.path.name} repeats {span:,} numbers to a tensor of {count:,}: "
                "no model does, do not use it"
            )
        return span


class Stub:
    """Inert substitute for any class or function that the pickle names.

    Attributes:
        state: attributes of the instance.
        entries: items, for a subclass of dict.
    """

    state: dict[str, Any]
    entries: dict[Any, Any]

    def __new__(cls, *args: object, **kwargs: object) -> Stub:
        """Create a stub without state, whatever the arguments."""
        stub = super().__new__(cls)  # a pickle may create instances without __init__
        stub.state, stub.entries = {}, {}
        return stub

    def __call__(self, *args: object, **kwargs: object) -> Stub:
        """Return another stub; nothing is executed."""
        return Stub()

    def __setstate__(self, state: object) -> None:
        parts = state if isinstance(state, tuple) else (state,)  # (dict, slots) or dict
        for part in parts:
            if isinstance(part, dict):
                self.state.update(part)

    def __setitem__(self, key: object, value: object) -> None:
        self.entries[key] = value

    def append(self, item: object) -> None:
        """Ignore an item: so pickles fill subclasses of list and set."""

    add = extend = append


class _WeightsOnlyUnpickler(pickle.Unpickler):
    """Resolve the names of tensors, storages and plain containers; all others become stubs."""

    def __init__(self, stream: BinaryIO, archive: Archive):
        super().__init__(stream, encoding="latin1")
        self._archive = archive
        self._stubs: dict[str, type[Stub]] = {}
        # Bound methods: a pickle could set attributes on a plain function.
        self._functions: dict[str, Callable[..., Any]] = {
            "collections.defaultdict": self._default_dict,
            "torch._utils._rebuild_tensor": self._rebuild_tensor,
            "torch._utils._rebuild_tensor_v2": self._rebuild_tensor,
            "torch._utils._rebuild_tensor_v3": self._rebuild_tensor_v3,
            "torch._utils._rebuild_parameter": self._rebuild_parameter,
            "torch._utils._rebuild_parameter_with_state": self._rebuild_parameter,
            "torch._tensor._rebuild_from_type_v2": self._rebuild_subclass,
        }

    def find_class(self, module: str, name: str) -> Any:
        origin = f"{PYTHON2_MODULES.get(module, module)}.{name}"
        if CODE_RUNNERS.match(origin):
            raise UnsafeCheckpointError(
                f"the file names {origin}, which would run code when loaded the ordinary way; "
                "nothing was run: do not use it, get the weights from their authors"
            )
        for known in (self._functions, CONTAINERS, STORAGES, TORCH_DTYPES):
            if origin in known:
                return known[origin]
        if origin not in self._stubs:
            self._stubs[origin] = type(origin, (Stub,), {})
        return self._stubs[origin]

    def persistent_load(self, pid: Any) -> Any:
        if pid[0] == "module":  # a class with its source code, in files before PyTorch 1.6
            return pid[1]
        kind, dtype, key, _location, _numel, *view = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or any(view):
            raise ValueError(f"unknown kind of storage {kind!r}")
        self._archive.itemsizes[str(key)] = dtype.itemsize
        return Storage(dtype, str(key))

    def _default_dict(self, *_factory: object) -> dict:
        return {}

    def _rebuild_tensor(self, storage: Any, offset: int, shape: Any, stride: Any, *_: Any) -> Any:
        return self._tensor(storage, storage.dtype, offset, shape, stride)

    def _rebuild_tensor_v3(
        self, storage: Any, offset: int, shape: Any, stride: Any, *rest: Any
    ) -> LazyTensor:
        _requires_grad, _hooks, dtype, *_ = rest
        return self._tensor(storage, dtype, offset, shape, stride)

    def _tensor(
        self, storage: Storage, dtype: torch.dtype, offset: int, shape: Any, stride: Any
    ) -> LazyTensor:
        numbers = (offset, *shape, *stride)
        is_possible = all(isinstance(n, int) and 0 <= n <= MAX_INDEX for n in numbers)
        if not is_possible or len(shape) != len(stride):
            raise ValueError(f"impossible tensor of shape {shape}")
        if not isinstance(storage, Storage) or not isinstance(dtype, torch.dtype):
            raise TypeError("tensor without storage")
        return LazyTensor(
            self._archive, str(storage.key), dtype, offset, tuple(shape), tuple(stride)
        )

    def _rebuild_parameter(self, data: Any, *_: Any) -> Any:
        return data

    def _rebuild_subclass(self, rebuild: Any, _kind: Any, args: tuple, _state: Any) -> Any:
        is_ours = any(rebuild == function for function in self._functions.values())
        return rebuild(*args) if is_ours else Stub()


def load_pickle(stream: BinaryIO, archive: Archive) -> Any:
    """Read the next pickle of `stream`; its opcodes are checked before any is executed.

    Args:
        stream: a seekable file at the start of a pickle; its position afterwards is the end of it.
        archive: the file that holds the storages.

    Raises:
        ValueError: a memo index is larger than the pickle, which could fill the memory.
    """
    start = stream.tell()
    largest_memo = 0
    for opcode, argument, _ in pickletools.genops(stream):
        if "PUT" in opcode.name:
            largest_memo = max(largest_memo, argument or 0)
    length = stream.tell() - start
    if largest_memo > length:  # the memo is an array of that size
        raise ValueError("memo index beyond the number of instructions")
    stream.seek(start)
    return _WeightsOnlyUnpickler(io.BytesIO(stream.read(length)), archive).load()
