"""Transfer of one file, which gets its name once its content is verified.

A server, a mirror or the login page of a network may answer with anything. So nothing grows beyond
the size that was stated, text is no checkpoint, and size and SHA-256 are compared.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ..engines.locks import only_one
from ..errors import DownloadError, OutputError
from ..files import ByteProgress, remove, sha256_of_file
from ..terminal import get_logger

logger = get_logger(__name__)

SIZE_TOLERANCE = 0.2  # of an approximate size, for a file without a SHA-256
_BEGINNING = 512  # bytes looked at to recognize text
_SHA256 = re.compile("[0-9a-f]{64}")
_VERSION = re.compile("[0-9a-f]{16}")

Send = Callable[[Any, int], None]  # writes the bytes from a position on into a file object


class WrongContentError(DownloadError):
    """The server sent something else than the file; what has arrived is useless."""


@dataclass(frozen=True)
class RemoteFile:
    """A file as its server describes it.

    Attributes:
        size: bytes; None if the server states no usable number.
        etag: name of this version; the SHA-256 for large files of the hub.
        approximate_size: bytes, known beforehand.
    """

    size: int | None
    etag: str
    approximate_size: int

    @property
    def sha256(self) -> str | None:
        """Hex SHA-256, None if the server states none."""
        return self.etag if _SHA256.fullmatch(self.etag) else None

    @property
    def max_size(self) -> int:
        """Largest number of bytes to accept."""
        return self.size or round(self.approximate_size * (1 + SIZE_TOLERANCE))

    def partial_path(self, destination: Path) -> Path:
        """Return the path of the unfinished file; each version has its own."""
        version = self.etag[:16]
        if not _VERSION.fullmatch(version):  # the server's text may hold anything, even a path
            version = hashlib.sha256(self.etag.encode(errors="replace")).hexdigest()[:16]
        return destination.with_name(f".{destination.name}.{version}.partial")

    def mismatch(self, path: Path) -> str | None:
        """Return why the file at `path` is another one, None if it is this one."""
        size = path.stat().st_size
        if self.size is not None and size != self.size:
            return f"{size} bytes, expected {self.size}"
        if self.sha256 is None:
            return self._mismatch_without_hash(path, size)
        found = sha256_of_file(path)
        if found == self.sha256:
            return None
        return f"SHA-256 {found[:12]}..., expected {self.sha256[:12]}..."

    def _mismatch_without_hash(self, path: Path, size: int) -> str | None:
        if reason := self.wrong_size(size):
            return reason
        with path.open("rb") as file:
            if is_text(file.read(_BEGINNING)):
                return "text, expected a checkpoint"
        logger.warning("the server states no SHA-256 of %s: only its size was checked", path.name)
        return None

    def wrong_size(self, size: int | None) -> str | None:
        """Return why the size rules the file out; None if it does not, or a SHA-256 will tell."""
        allowed = SIZE_TOLERANCE * self.approximate_size
        if self.sha256 or size is None or abs(size - self.approximate_size) <= allowed:
            return None
        expected = f"about {self.approximate_size / 1e9:.1f} GB"
        return f"{size} bytes without a SHA-256, expected {expected}"


def fetch_verified(
    remote: RemoteFile, destination: Path, send: Send, progress: ByteProgress | None = None
) -> None:
    """Transfer into a partial file, and rename it once it is verified.

    Args:
        remote: the file.
        destination: its path afterwards; unchanged on any failure.
        send: transfers the bytes; its errors pass through.
        progress: called with (bytes done, bytes in all).

    Raises:
        DownloadError: the content is not that of `remote`.
        OutputError: another process fetches it, or it cannot be written.
    """
    if reason := remote.wrong_size(remote.size):
        raise _damaged(destination, reason)
    lock = destination.with_name(f".{destination.name}.lock")
    taken = f"{destination.name} is being downloaded by another process: wait until it is done"
    with only_one(lock, taken):
        if destination.is_file() and remote.mismatch(destination) is None:
            return  # the other process finished before
        partial = remote.partial_path(destination)
        is_begun = _keep_what_can_be_resumed(remote, destination, partial)
        _check_space(partial, remote)
        try:
            if not (is_begun and _is_completed(remote, partial, send, progress)):
                _transfer(remote, partial, send, progress)
        except WrongContentError as error:
            raise _damaged(destination, str(error)) from error
        os.replace(partial, destination)


def _damaged(destination: Path, reason: str) -> DownloadError:
    return DownloadError(
        f"{destination.name} was damaged on the way ({reason}): try again; if it repeats, log in "
        "to your network, or leave out the mirror in HF_ENDPOINT"
    )


def _is_completed(
    remote: RemoteFile, partial: Path, send: Send, progress: ByteProgress | None
) -> bool:
    """Resume what has arrived; return False if the rest does not fit to it."""
    try:
        _transfer(remote, partial, send, progress)
    except WrongContentError as error:
        logger.warning("what had arrived is useless (%s): starting again", error)
        return False
    return True


def _keep_what_can_be_resumed(remote: RemoteFile, destination: Path, partial: Path) -> bool:
    """Remove partial files of other versions, and a useless one; return whether one is left."""
    prefix = f".{destination.name}."
    for path in destination.parent.iterdir():
        is_partial = path.name.startswith(prefix) and path.name.endswith(".partial")
        if is_partial and path != partial:
            remove(path)
    if not partial.is_file():
        remove(partial)
        return False
    with partial.open("rb") as file:
        beginning = file.read(_BEGINNING)
    size = partial.stat().st_size
    if remote.size is None or size > remote.size or is_text(beginning) or not size:
        partial.unlink()
        return False
    return True


def _check_space(partial: Path, remote: RemoteFile) -> None:
    arrived = partial.stat().st_size if partial.exists() else 0
    needed = remote.max_size - arrived
    free = shutil.disk_usage(partial.parent).free
    if free < needed:
        raise OutputError(
            f"{partial.parent} has {free / 1e9:.1f} GB free, expected {needed / 1e9:.1f} GB: free "
            "some space or choose another folder"
        )


def _transfer(remote: RemoteFile, partial: Path, send: Send, progress: ByteProgress | None) -> None:
    """Append the missing bytes to the partial file and verify it; a wrong one is removed."""
    try:
        with partial.open("ab") as file:
            arrived = file.tell()
            if arrived != remote.size:
                send(CheckedFile(file, remote.max_size, progress), arrived)
            file.flush()
            os.fsync(file.fileno())
        if mismatch := remote.mismatch(partial):
            raise WrongContentError(mismatch)
    except WrongContentError:
        remove(partial)
        raise
    finally:
        if partial.exists() and not partial.stat().st_size:
            remove(partial)


class CheckedFile:
    """A file that refuses text and more than `max_size` bytes, and reports its size.

    Args:
        file: open for binary writing.
        max_size: bytes.
        progress: called with (bytes done, `max_size`) after each write.
    """

    def __init__(self, file: BinaryIO, max_size: int, progress: ByteProgress | None) -> None:
        self._file, self._max_size, self._progress = file, max_size, progress

    def write(self, data: bytes) -> int:
        """Write `data`.

        Raises:
            WrongContentError: it cannot belong to the file.
        """
        position = self._file.tell()
        if position + len(data) > self._max_size:
            raise WrongContentError(f"more than {self._max_size} bytes")
        if position == 0 and is_text(data[:_BEGINNING]):
            raise WrongContentError(f"text, {data[:40]!r}, expected a checkpoint")
        written = self._file.write(data)
        if self._progress:
            self._progress(self._file.tell(), self._max_size)
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def is_text(beginning: bytes) -> bool:
    """Return whether a file that begins so is text, such as a page or an error in JSON."""
    try:
        text = beginning.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(beginning) - 3:  # a letter may be cut at the end
            return False
        text = beginning[: error.start].decode("utf-8")
    return bool(text) and all(c.isprintable() or c.isspace() for c in text)
