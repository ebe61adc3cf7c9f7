"""Archives written by `torch.save`: the zip format, and the legacy one before PyTorch 1.6.

The pickle inside goes through the weights-only unpickler of `unpickler.py`, which runs nothing.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

from ...errors import CheckpointError, one_line
from .unpickler import Archive, load_pickle

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # first object of a file from torch.save before 1.6

# Exceptions of the unpickler on a damaged or hostile pickle.
PICKLE_ERRORS = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    struct.error,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    TypeError,
    ValueError,
)


class ZipArchive(Archive):
    """Format of torch.save since 1.6: `data.pkl` and one uncompressed zip member per storage."""

    def __init__(self, path: Path):
        super().__init__(path)
        with zipfile.ZipFile(path) as archive:
            self._members = {info.filename: info for info in archive.infolist()}
            pickles = [name for name in self._members if name.split("/")[-1] == "data.pkl"]
            if len(pickles) != 1:
                raise ValueError("no data.pkl in this zip file")
            self._prefix = pickles[0].removesuffix("data.pkl")
            if any(info.compress_type != zipfile.ZIP_STORED for info in self._members.values()):
                raise ValueError("compressed members: unpack and save it again with torch.save")
            order = self._prefix + "byteorder"
            if order in self._members and archive.read(order) != b"little":
                raise ValueError("big-endian tensors: save it again on a common computer")
            self._pickle = archive.read(pickles[0])

    def load(self) -> Any:
        """Unpickle `data.pkl`."""
        return load_pickle(io.BytesIO(self._pickle), self)

    def locate(self, key: str) -> tuple[int, int]:
        """Return the position and length, in bytes, of the member `data/<key>`."""
        info = self._members[f"{self._prefix}data/{key}"]
        with self.path.open("rb") as file:
            # The local header repeats the name and may have an extra field of another length.
            file.seek(info.header_offset + 26)
            name_length, extra_length = struct.unpack("<HH", file.read(4))
        return info.header_offset + 30 + name_length + extra_length, info.file_size


class LegacyArchive(Archive):
    """Format of torch.save before 1.6: five pickles, then each storage after its length."""

    def __init__(self, path: Path):
        super().__init__(path)
        self._positions: dict[str, tuple[int, int]] = {}

    def load(self) -> Any:
        """Unpickle the root object and note the position of every storage."""
        with self.path.open("rb") as file:
            if load_pickle(file, self) != LEGACY_MAGIC:
                raise ValueError("a plain pickle: save it again with torch.save")
            load_pickle(file, self)  # protocol version
            load_pickle(file, self)  # sizes of C types on the writer's computer
            root = load_pickle(file, self)
            for key in load_pickle(file, self):
                (numel,) = struct.unpack("<q", file.read(8))
                size = numel * self.itemsizes[key]
                self._positions[key] = (file.tell(), size)
                file.seek(size, io.SEEK_CUR)
        return root

    def locate(self, key: str) -> tuple[int, int]:
        """Return the position and length, in bytes, that `load` found."""
        return self._positions[key]


def read_pickle(path: Path) -> Any:
    """Read the object in a file from `torch.save` as plain containers, `LazyTensor` and `Stub`.

    Raises:
        UnsafeCheckpointError: the pickle names a callable whose purpose is to run code.
        CheckpointError: the file is damaged or is not from `torch.save`.
    """
    try:
        with path.open("rb") as file:
            is_zip = file.read(2) == b"PK"
        return (ZipArchive(path) if is_zip else LegacyArchive(path)).load()
    except CheckpointError:
        raise
    except PICKLE_ERRORS as error:
        raise CheckpointError(
            f"{path.name} is truncated, damaged or not a PyTorch checkpoint "
            f"({one_line(error, 100)}): get the file again"
        ) from error
