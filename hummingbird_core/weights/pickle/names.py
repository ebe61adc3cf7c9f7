"""Names of Python callables in pickles: which stand for tensors and plain data, which run code.

A pickle is a small program whose instructions name callables; `torch.load` on a whole pickled model
imports and runs whatever the file names. Here a name stays a name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch

from ...errors import UnsafeCheckpointError

# No model needs these names. As names they are harmless, but a file that contains one is an attack,
# and the user should know.
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
_FURTHER_DTYPES = ("float8_e4m3fn", "float8_e5m2", "uint16", "uint32", "uint64")
_DTYPES = {*STORAGES.values(), *(getattr(torch, name) for name in _FURTHER_DTYPES)}
TORCH_DTYPES = {str(dtype): dtype for dtype in _DTYPES}  # without quantized ones


@dataclass(frozen=True)
class Global:
    """A callable that a pickle names, such as "collections.OrderedDict"; nothing is imported."""

    origin: str


def find_global(module: str, name: str) -> Global | torch.dtype:
    """Return the element type or the callable that a pickle names.

    Raises:
        UnsafeCheckpointError: the purpose of the callable is to run code.
    """
    origin = f"{PYTHON2_MODULES.get(module, module)}.{name}"
    if CODE_RUNNERS.match(origin):
        raise UnsafeCheckpointError(
            f"the file names {origin[:100]}, which would run code when loaded the ordinary way; "
            "nothing was run: do not use it, get the weights from their authors"
        )
    return STORAGES.get(origin) or TORCH_DTYPES.get(origin) or Global(origin)
