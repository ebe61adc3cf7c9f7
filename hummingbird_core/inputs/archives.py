"""Tar archives that people give: sizes are compared with the file before anything is read."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..errors import InputError, first_line

# Of the header of a member; one with extended attributes and a long name has a few kilobytes.
MAX_HEADER_BYTES = 1 << 16
MAX_PADDING_BYTES = 1 << 20
TRUNCATED = "is truncated: get the archive again"
_COPY_BYTES = 1 << 20
# All that tarfile raises for damaged headers, besides TarError and OSError.
_DAMAGE = (EOFError, ValueError, OverflowError, IndexError, RecursionError)


@dataclass(frozen=True)
class Member:
    """A file in an archive.

    Attributes:
        name: its path in the archive, as it is written there.
        offset: position of its bytes in the archive.
        size: number of its bytes.
        error: reason why it cannot be read; "" if it can.
    """

    name: str
    offset: int
    size: int
    error: str = ""


def list_members(archive: Path) -> Iterator[Member]:
    """Yield the files of an uncompressed tar archive; folders are left out.

    Raises:
        InputError: the archive is damaged; raised after the members that can be read.
    """
    try:
        with archive.open("rb") as file:
            end = file.seek(0, 2)
            headers = _Headers(file, end)
            with tarfile.open(fileobj=headers, mode="r:") as tar:  # type: ignore[call-overload]
                for entry in tar:
                    if entry.size < 0:
                        raise tarfile.TarError(f"{entry.name!r} has a negative size")
                    if not entry.isdir():
                        yield _member(entry, end)
                _check_end(file, tar.offset)
    except (tarfile.TarError, OSError, *_DAMAGE) as error:
        raise InputError(
            f"cannot read {archive.name} as a tar file: {first_line(error)}; get it again, or "
            "unpack it if it is compressed"
        ) from error


def _check_end(file: BinaryIO, offset: int) -> None:
    """Raise TarError if tarfile stopped at `offset` before the end, which it does in silence."""
    file.seek(offset)
    if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
        raise tarfile.TarError("a damaged header")
    if file.read(MAX_PADDING_BYTES).strip(b"\0"):  # tar pads with zeros
        raise tarfile.TarError("more data after its end, as when archives are joined")


def _member(entry: tarfile.TarInfo, end: int) -> Member:
    error = ""
    if entry.issym() or entry.islnk():
        error = "is a link: pack the file itself"
    elif not entry.isreg():
        error = "is no regular file"
    elif entry.issparse():
        error = "is a sparse file: pack it without holes"
    elif entry.offset_data + entry.size > end:
        error = TRUNCATED
    return Member(entry.name, entry.offset_data, entry.size, error)


class _Headers:
    """An archive as tarfile sees it: short reads, forwards, and never beyond the end.

    A header can claim a size of 2**80 bytes, or a negative one that leads back to itself.
    """

    def __init__(self, file: BinaryIO, end: int) -> None:
        self.file = file
        self.end = end
        self.furthest = file.seek(0)

    def tell(self) -> int:
        return self.file.tell()

    def seek(self, position: int) -> int:
        # Before it goes on to the next header, tarfile reads one byte once more.
        if not self.furthest - 1 <= position <= self.end:
            raise tarfile.TarError("unexpected end of data")
        return self.file.seek(position)

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise tarfile.TarError(f"a header of {size:,} bytes")
        data = self.file.read(size)
        self.furthest = max(self.furthest, self.file.tell())
        return data


def read_member(archive: Path, member: Member, max_bytes: int) -> bytes:
    """Read a small member.

    Raises:
        InputError: it cannot be read, or is larger than `max_bytes`.
    """
    if member.error:
        raise InputError(f"{member.name} {member.error}")
    if member.size > max_bytes:
        raise InputError(f"{member.name} has {member.size:,} bytes, expected at most {max_bytes:,}")
    with archive.open("rb") as file:
        file.seek(member.offset)
        return file.read(member.size)


def copy_part(archive: Path, offset: int, size: int, target: Path) -> None:
    """Copy a part of a file, in the memory of a megabyte.

    Raises:
        InputError: the file ends before the part does.
    """
    with archive.open("rb") as source, target.open("wb") as copy:
        source.seek(offset)
        while size > 0:
            chunk = source.read(min(size, _COPY_BYTES))
            if not chunk:
                raise InputError(f"is truncated in {archive.name}: get the archive again")
            size -= copy.write(chunk)
