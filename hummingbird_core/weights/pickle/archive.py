"""Archives written by `torch.save`: the zip format, and the legacy one before PyTorch 1.6.

The pickle inside goes through the weights-only machine of `machine.py`, which runs nothing. Sizes
are compared with limits before anything is read.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

from ...errors import CheckpointError, one_line
from .machine import Work, load_pickle
from .tensors import Archive

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # first object of a file from torch.save before 1.6
MAX_PICKLE = 32 << 20  # bytes; a whole pickled model has half a megabyte
MAX_DIRECTORY = 2 << 20  # bytes of a zip file's table of contents, some 30,000 tensors
ENCRYPTED = 0x1  # bit of a zip entry's flags

# Exceptions on a damaged or hostile file; zipfile raises RuntimeError for encrypted entries.
PICKLE_ERRORS = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    struct.error,
    ArithmeticError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


class ZipArchive(Archive):
    """Format of torch.save since 1.6: `data.pkl` and one uncompressed zip member per storage."""

    def __init__(self, path: Path):
        super().__init__(path)
        with _Directory(path) as file, zipfile.ZipFile(file) as archive:
            self._members = self._checked(archive.infolist())
        pickles = [name for name in self._members if name.split("/")[-1] == "data.pkl"]
        if len(pickles) != 1:
            raise ValueError("no data.pkl in this zip file")
        self._prefix = pickles[0].removesuffix("data.pkl")
        order = self._prefix + "byteorder"
        if order in self._members and self._read(order) != b"little":
            raise ValueError("big-endian tensors: save it again on a common computer")
        self._pickle = self._read(pickles[0])

    def _checked(self, infos: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
        """Return the members by name; raise ValueError for sizes that are lies."""
        members = {info.filename: info for info in infos}
        if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
            raise ValueError("compressed members: unpack and save it again with torch.save")
        if any(info.file_size != info.compress_size for info in infos):
            raise ValueError("members with two different sizes")
        # Members that overlap, or stand in the file twice, would be larger together than the file.
        if sum(info.file_size for info in infos) > self.size or len(members) < len(infos):
            raise ValueError("members that overlap")
        if any(info.flag_bits & ENCRYPTED for info in infos):
            raise ValueError("encrypted members")
        return members

    def load(self) -> Any:
        """Unpickle `data.pkl`."""
        return load_pickle(io.BytesIO(self._pickle), self, Work.for_file(self.size))

    def locate(self, key: str) -> tuple[int, int]:
        """Return the position and length, in bytes, of the member `data/<key>`."""
        info = self._members[f"{self._prefix}data/{key}"]
        return self._position(info), info.file_size

    def _position(self, info: zipfile.ZipInfo) -> int:
        with self.path.open("rb") as file:
            # The local header repeats the name and may have an extra field of another length.
            file.seek(info.header_offset + 26)
            name_length, extra_length = struct.unpack("<HH", file.read(4))
        return info.header_offset + 30 + name_length + extra_length

    def _read(self, name: str) -> bytes:
        info = self._members[name]
        if info.file_size > MAX_PICKLE:
            raise ValueError(f"a pickle of {info.file_size:,} bytes, which is none of tensors")
        with self.path.open("rb") as file:
            file.seek(self._position(info))
            data = file.read(info.file_size)
        if zlib.crc32(data) != info.CRC:
            raise ValueError(f"the checksum of {name} is wrong")
        return data


class _Directory(io.FileIO):
    """A zip file of which zipfile reads only a table of contents of a possible size."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_DIRECTORY:
            raise zipfile.BadZipFile("a table of contents that is too long")
        return super().read(size)


class LegacyArchive(Archive):
    """Format of torch.save before 1.6: five pickles, then each storage after its length."""

    def __init__(self, path: Path):
        super().__init__(path)
        self._positions: dict[str, tuple[int, int]] = {}

    def load(self) -> Any:
        """Unpickle the root object and note the position of every storage."""
        work = Work.for_file(self.size)
        with self.path.open("rb") as file:
            pickles = io.BytesIO(file.read(MAX_PICKLE))
            if load_pickle(pickles, self, work) != LEGACY_MAGIC:
                raise ValueError("a plain pickle: save it again with torch.save")
            load_pickle(pickles, self, work)  # protocol version
            load_pickle(pickles, self, work)  # sizes of C types on the writer's computer
            root = load_pickle(pickles, self, work)
            keys = load_pickle(pickles, self, work)
            file.seek(pickles.tell())
            for key in keys:
                (numel,) = struct.unpack("<q", file.read(8))
                size = numel * self.itemsizes[key]
                if not 0 <= size <= self.size or key in self._positions:
                    raise ValueError("a storage of an impossible size")
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
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise CheckpointError(f"{path} is no regular file, expected one from torch.save")
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
