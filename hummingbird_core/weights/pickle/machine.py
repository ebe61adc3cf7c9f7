"""Weights-only reading of pickles: tensors and plain data, without running code.

Torch's own weights-only unpickler rejects whole pickled models. This one reads them: a callable
that makes no tensor and no plain container gives an inert `Stub`, which only records its state
(`modules.py` collects the tensors from the stubs).

A pickle of 400 bytes can describe objects whose hash, text or copy takes years. So the instructions
are executed here, one by one: each takes constant time, except for copies, and `Work` bounds the
sum of all by the size of the file.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pickle import UnpicklingError
from typing import Any, BinaryIO

import torch

from .names import Global, find_global
from .tensors import Archive, LazyTensor, Storage, lazy_tensor

# A whole pickled model has up to 160 instructions a tensor; that of the 0.7B model 170,000.
MIN_WORK, BYTES_PER_WORK = 300_000, 100
OBJECT_WORK = 2  # of an instruction that makes an object, besides its own step
NAME_WORK = 20  # of a name of a callable, which is compared with all that run code
PLAIN_KEYS = (str, float, bool, type(None), bytes, Global, torch.dtype)
MAX_KEY = 1 << 60  # larger integers can share one hash, which makes a dictionary slow
SCALARS = {"int": int, "long": int, "float": float, "bool": bool, "str": str}


class Stub:
    """Inert substitute for an instance of any class, or the result of any function.

    Attributes:
        state: attributes of the instance.
        entries: items, for a subclass of dict.
    """

    __slots__ = ("entries", "state")

    def __init__(self) -> None:
        self.state: dict[Any, Any] = {}
        self.entries: dict[Any, Any] = {}


@dataclass
class Work:
    """Number of steps that are left for a pickle."""

    left: int

    @classmethod
    def for_file(cls, size: int) -> Work:
        """Return the steps that a file of `size` bytes may take."""
        return cls(MIN_WORK + size // BYTES_PER_WORK)

    def spend(self, steps: int) -> None:
        """Count steps; raise UnpicklingError if too few are left."""
        self.left -= steps
        if self.left < 0:
            raise UnpicklingError("it takes more steps than any model of its size")


def load_pickle(stream: BinaryIO, archive: Archive, work: Work) -> Any:
    """Read the next pickle of `stream`, whose position afterwards is the end of it.

    Raises:
        UnpicklingError, ValueError, LookupError, TypeError: the pickle is damaged, or none.
    """
    return _Machine(archive, work).run(stream)


class _Machine:
    """The stack machine of pickle (PEP 3154), with the instructions of protocols 0 to 5."""

    def __init__(self, archive: Archive, work: Work):
        self._archive, self._work = archive, work
        self._stack: list[Any] = []
        self._marks: list[int] = []  # positions in the stack
        self._memo: dict[int, Any] = {}

    def run(self, stream: BinaryIO) -> Any:
        for opcode, argument, _ in pickletools.genops(stream):
            self._work.spend(1)
            if opcode.name in _CONSTANTS:
                self._stack.append(argument)
            elif opcode.name not in _IGNORED:
                _INSTRUCTIONS[opcode.name](self, argument)
        return self._stack.pop()

    # --- stack and memo --------------------------------------------------------------------------

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def mark(self, _: object) -> None:
        self._marks.append(len(self._stack))

    def since_mark(self) -> list[Any]:
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def pop(self, _: object) -> None:
        if self._marks and self._marks[-1] == len(self._stack):
            self._marks.pop()
        else:
            self._stack.pop()

    def last(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise IndexError("the stack is empty")
        items = self._stack[-count:]
        del self._stack[-count:]
        return items

    def put(self, index: int | None) -> None:
        self._memo[len(self._memo) if index is None else index] = self._stack[-1]

    def get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    # --- containers ------------------------------------------------------------------------------

    def make(self, value: Any) -> None:
        """Push a new container."""
        self._work.spend(OBJECT_WORK)
        self._stack.append(value)

    def append(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Stub):  # stubs of subclasses of list stay empty
            raise TypeError("items are appended to what is no list")

    def add(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, set):
            target.update(_key(item) for item in items)
        elif not isinstance(target, Stub):
            raise TypeError("items are added to what is no set")

    def set_items(self, items: list[Any]) -> None:
        target = self._stack[-1]
        entries = target.entries if isinstance(target, Stub) else target
        if not isinstance(entries, dict):
            raise TypeError("entries are set in what is no dictionary")
        entries.update(_entries(items))

    # --- calls -----------------------------------------------------------------------------------

    def stack_global(self, _: object) -> None:
        module, name = self.last(2)
        if not (isinstance(module, str) and isinstance(name, str)):
            raise TypeError("a name that is no text")
        self.push(self.find(module, name))

    def find(self, module: str, name: str) -> Global | torch.dtype:
        self._work.spend(NAME_WORK)
        return find_global(module, name)

    def reduce(self, _: object) -> None:
        function, arguments = self.last(2)
        self.push(self.call(function, arguments))

    def new_with_keywords(self, _: object) -> None:
        kind, arguments, _keywords = self.last(3)
        self.push(self.call(kind, arguments))

    def new_from_mark(self, _: object) -> None:
        kind, *arguments = self.since_mark()
        self.push(self.call(kind, tuple(arguments)))

    def call(self, function: Any, arguments: Any) -> Any:
        """Return the tensor or container that a call makes; a stub for any other."""
        if not isinstance(arguments, tuple):
            raise TypeError("arguments that are no tuple")
        if not isinstance(function, Global | Stub):
            raise TypeError("a call of what is no function")
        self._work.spend(OBJECT_WORK)
        known = _CALLS.get(function.origin) if isinstance(function, Global) else None
        return known(self, *arguments) if known else Stub()

    def build(self, _: object) -> None:
        """Record the state of an instance; attributes of containers are dropped."""
        target, state = self.last(2)
        self.push(target)
        if isinstance(target, LazyTensor | Storage):
            raise ValueError("it changes a tensor after making it")
        for part in state if isinstance(state, tuple) else (state,):  # (dict, slots) or dict
            if isinstance(target, Stub) and isinstance(part, dict):
                self._work.spend(len(part))
                target.state.update(part)

    def persistent(self, pid: Any) -> None:
        """Push the storage, or in files before PyTorch 1.6 the class, that an id stands for."""
        if not isinstance(pid, tuple) or not pid:
            raise TypeError("an unknown kind of storage")
        if pid[0] == "module":  # with its source code
            self.push(pid[1])
            return
        kind, dtype, key, _location, _numel, *view = pid
        is_plain = isinstance(key, str | int) and not any(part is not None for part in view)
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not is_plain:
            raise ValueError("an unknown kind of storage")
        self._archive.itemsizes[str(key)] = dtype.itemsize
        self.push(Storage(dtype, str(key)))

    def make_list(self, items: Any = ()) -> list[Any]:
        return list(self.copied(items))

    def make_tuple(self, items: Any = ()) -> tuple[Any, ...]:
        return tuple(self.copied(items))

    def make_set(self, items: Any = ()) -> set[Any]:
        return {_key(item) for item in self.copied(items)}

    def make_dict(self, entries: Any = ()) -> dict[Any, Any]:
        if isinstance(entries, dict):
            self._work.spend(len(entries))
            return dict(entries)
        pairs = [tuple(self.copied(pair)) for pair in self.copied(entries)]
        return {_key(key): value for key, value in pairs}

    def make_default_dict(self, *_factory: object) -> dict[Any, Any]:
        return {}

    def copied(self, items: Any) -> Any:
        """Return a list, tuple or set that is about to be copied, and count that work."""
        if not isinstance(items, list | tuple | set | frozenset):
            raise TypeError("a container of what is no container")
        self._work.spend(len(items))
        return items

    def make_tensor(
        self, storage: Any, offset: Any, shape: Any, stride: Any, *_: object
    ) -> LazyTensor:
        dtype = getattr(storage, "dtype", None)
        return lazy_tensor(self._archive, storage, dtype, offset, shape, stride)

    def make_typed_tensor(
        self, storage: Any, offset: Any, shape: Any, stride: Any, *rest: Any
    ) -> LazyTensor:
        _requires_grad, _hooks, dtype, *_ = rest
        return lazy_tensor(self._archive, storage, dtype, offset, shape, stride)

    def make_parameter(self, data: Any, *_: object) -> Any:
        return data

    def make_subclass(self, rebuild: Any, _kind: Any, arguments: Any, *_state: object) -> Any:
        if isinstance(rebuild, Global) and rebuild.origin in _TENSORS:
            return self.call(rebuild, arguments)
        return Stub()


def _key(key: Any) -> Any:
    """Return a key of a dictionary; a stub in place of one whose hash could take long."""
    is_plain = isinstance(key, PLAIN_KEYS) or (isinstance(key, int) and abs(key) < MAX_KEY)
    return key if is_plain else Stub()


def _entries(items: list[Any]) -> Iterable[tuple[Any, Any]]:
    if len(items) % 2:
        raise ValueError("a key without a value")
    return ((_key(key), value) for key, value in zip(items[::2], items[1::2], strict=True))


def _scalar(kind: type) -> Callable[..., Any]:
    """Return the call of `int` and so on, for plain values only."""

    def make(_machine: _Machine, *values: Any) -> Any:
        is_plain = len(values) == 1 and isinstance(values[0], str | int | float)
        return kind(values[0]) if is_plain else Stub()

    return make


def _split(name: str) -> tuple[str, str]:
    module, _, attribute = name.partition(" ")
    return module, attribute


_TENSORS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _Machine.make_tensor,
    "torch._utils._rebuild_tensor_v2": _Machine.make_tensor,
    "torch._utils._rebuild_tensor_v3": _Machine.make_typed_tensor,
}
_CALLS: dict[str, Callable[..., Any]] = {
    **_TENSORS,
    "torch._utils._rebuild_parameter": _Machine.make_parameter,
    "torch._utils._rebuild_parameter_with_state": _Machine.make_parameter,
    "torch._tensor._rebuild_from_type_v2": _Machine.make_subclass,
    "torch.Size": _Machine.make_tuple,
    "collections.OrderedDict": _Machine.make_dict,
    "collections.defaultdict": _Machine.make_default_dict,
    "builtins.dict": _Machine.make_dict,
    "builtins.list": _Machine.make_list,
    "builtins.tuple": _Machine.make_tuple,
    "builtins.set": _Machine.make_set,
    "builtins.frozenset": _Machine.make_set,
    **{f"builtins.{name}": _scalar(kind) for name, kind in SCALARS.items()},
}
_IGNORED = {"PROTO", "FRAME", "STOP"}
_CONSTANTS = {"NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG"}
_CONSTANTS |= {"LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING"}
_CONSTANTS |= {"UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "BINBYTES"}
_CONSTANTS |= {"SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}
_INSTRUCTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine.mark,
    "POP": _Machine.pop,
    "POP_MARK": lambda m, _: m.since_mark().clear(),
    "DUP": lambda m, _: m.push(m._stack[-1]),
    "PUT": _Machine.put,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.put,
    "GET": _Machine.get,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "EMPTY_TUPLE": lambda m, _: m.push(()),
    "EMPTY_LIST": lambda m, _: m.make([]),
    "EMPTY_DICT": lambda m, _: m.make({}),
    "EMPTY_SET": lambda m, _: m.make(set()),
    "TUPLE": lambda m, _: m.make(tuple(m.since_mark())),
    "TUPLE1": lambda m, _: m.make(tuple(m.last(1))),
    "TUPLE2": lambda m, _: m.make(tuple(m.last(2))),
    "TUPLE3": lambda m, _: m.make(tuple(m.last(3))),
    "LIST": lambda m, _: m.make(m.since_mark()),
    "DICT": lambda m, _: m.make(dict(_entries(m.since_mark()))),
    "FROZENSET": lambda m, _: m.make({_key(item) for item in m.since_mark()}),
    "APPEND": lambda m, _: m.append(m.last(1)),
    "APPENDS": lambda m, _: m.append(m.since_mark()),
    "ADDITEMS": lambda m, _: m.add(m.since_mark()),
    "SETITEM": lambda m, _: m.set_items(m.last(2)),
    "SETITEMS": lambda m, _: m.set_items(m.since_mark()),
    "GLOBAL": lambda m, name: m.push(m.find(*_split(name))),
    "STACK_GLOBAL": _Machine.stack_global,
    "INST": lambda m, name: m.push(m.call(m.find(*_split(name)), tuple(m.since_mark()))),
    "OBJ": _Machine.new_from_mark,
    "REDUCE": _Machine.reduce,
    "NEWOBJ": _Machine.reduce,
    "NEWOBJ_EX": _Machine.new_with_keywords,
    "BUILD": _Machine.build,
    "BINPERSID": lambda m, _: m.persistent(m.last(1)[0]),
}
