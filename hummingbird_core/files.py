"""Files: atomic writes, content hashes, names, and imports of user functions."""

from __future__ import annotations

import base64
import hashlib
import importlib
import os
import re
import shutil
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from .errors import HummingbirdError, InputError, OutputError, first_line, machine_advice

ASSETS = Path(__file__).parent / "assets"  # data files of the package
WEIGHTS_SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
READ_CHUNK = 1 << 22  # bytes; large enough that the loop's overhead is negligible

# Name of a temporary file: its host, process and time, so that a later run can tell whether the
# writer still lives. As short as it can be, and without the name of its destination, which may
# already be the longest that the file system allows or hold what another program misreads.
_OWNER = struct.Struct(">3sII4s")  # host, process id, seconds since 1970, random
_TEMPORARY_NAME = re.compile(r"\.([a-z2-7]{24})(\.\w{1,15})?", re.ASCII)
_PLAIN_SUFFIX = re.compile(r"\.\w{1,15}", re.ASCII)
ABANDONED_AFTER = 86400.0  # seconds without a change, for writers that cannot be looked up
CLOCK_TOLERANCE = 60.0  # seconds between the system's clock and the start time of a process

ByteProgress = Callable[[int, int], None]  # called with (bytes done, bytes in all)


def sha256_of_file(path: Path) -> str:
    """Return the hex SHA-256 of a file of any size, in constant memory."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(READ_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def weights_files(path: Path) -> list[Path]:
    """Return the weights files at `path`: the file itself, or those in the folder, by name."""
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.iterdir() if file.suffix in WEIGHTS_SUFFIXES)


@cache
def content_hash(path: Path) -> str:
    """Return 16 hex digits that identify weights by their content, whatever the file's name.

    Args:
        path: a weights file, or a folder of weights files and configs. The result is cached for
            the process, as reading a checkpoint of several GB takes seconds.
    """
    files = [*weights_files(path), *sorted(path.glob("*config.json"))]
    hashes = [sha256_of_file(file) for file in files]
    return hashlib.sha256("".join(hashes).encode()).hexdigest()[:16]


def check_destination(destination: Path, *, overwrite: bool) -> None:
    """Check that `destination` can be written, and create its folder.

    Raises:
        OutputError: the file exists already, its name is too long, or the folder cannot be created.
    """
    check_name(destination)
    if destination.is_dir():
        raise OutputError(f"got folder {destination}, expected a file name: add one")
    if destination.exists() and not overwrite:
        raise OutputError(f"{destination} exists already: choose another name, or ask to overwrite")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make folder {destination.parent}: {error.strerror}") from error


def check_name(destination: Path) -> None:
    """Raise OutputError if the file system cannot hold the name, before any work is done."""
    try:
        folder = next(parent for parent in destination.absolute().parents if parent.exists())
        for part in destination.absolute().relative_to(folder).parts:
            with suppress(FileNotFoundError):
                (folder / part).lstat()  # a missing folder would hide that the name is too long
    except ValueError as error:  # a NUL
        raise OutputError(f"got {destination.name!r}, expected a file name: rename it") from error
    except OSError as error:
        if advice := machine_advice(error):
            shown = f"{destination.name[:40]}..."
            raise OutputError(f"cannot write {shown}: {advice}") from error


@contextmanager
def atomic_write(destination: Path) -> Iterator[Path]:
    """Give a temporary path to write, and rename it to `destination` once all is on the disk.

    Whatever is at that path afterwards, a file or a folder, replaces an older one. An error or
    Ctrl-C removes it and leaves the older one as it was. Missing parent folders are made, and
    temporary files that killed runs left there are removed.

    Raises:
        OutputError: the file system refuses to write.
    """
    temporary = temporary_path(destination)
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        _tidy_once(destination.parent.absolute())
        try:
            yield temporary
            _flush_to_disk(temporary)
            os.replace(temporary, destination)
        finally:
            remove(temporary)
    except HummingbirdError:
        raise
    except Exception as error:  # libraries wrap the errors of the file system
        reason = machine_advice(error)
        if reason is None and not isinstance(error, OSError):
            raise
        if reason is None:
            told = getattr(error, "strerror", None) or first_line(error)
            reason = f"{told}; free some space or choose another folder"
        raise OutputError(f"cannot write {destination}: {reason}") from error


def temporary_path(destination: Path) -> Path:
    """Return a new hidden name in the folder of `destination`, for a file or a folder.

    The suffix stays last: encoders choose their format by it. A sibling, as a rename is atomic
    within one file system only.
    """
    owner = _OWNER.pack(_host(), os.getpid(), int(time.time()), os.urandom(4))
    token = base64.b32encode(owner).decode().lower()
    suffix = destination.suffix if _PLAIN_SUFFIX.fullmatch(destination.suffix) else ""
    return destination.with_name(f".{token}{suffix}")


def remove_leftovers(folder: Path, *, locked: bool = False) -> None:
    """Delete the temporary files and folders that killed runs left in `folder`.

    Args:
        folder: may be missing.
        locked: the caller holds a lock of the folder, so nobody writes there: delete all of them.
    """
    paths: list[Path] = []
    with suppress(OSError):  # tidying never stops the work
        paths = list(folder.iterdir())
    for path in paths:
        match = _TEMPORARY_NAME.fullmatch(path.name)
        with suppress(OSError):
            if match and (locked or _is_abandoned(path, match[1])):
                remove(path)


@lru_cache(maxsize=4096)  # leftovers are those of earlier runs: one look is enough
def _tidy_once(folder: Path) -> None:
    remove_leftovers(folder)


def _is_abandoned(path: Path, token: str) -> bool:
    """Return whether the writer of a temporary file is gone."""
    import psutil

    host, pid, made, _ = _OWNER.unpack(base64.b32decode(token.upper()))
    if host != _host():
        return time.time() - path.lstat().st_mtime > ABANDONED_AFTER
    try:
        process = psutil.Process(pid)
        is_another = process.create_time() > made + CLOCK_TOLERANCE  # with the same number
        return is_another or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False


@cache
def _host() -> bytes:
    """Return three bytes for this machine or container, within which a process id is unique."""
    with suppress(OSError):
        namespace = os.stat("/proc/self/ns/pid").st_ino
        return hashlib.sha256(f"{socket.gethostname()} {namespace}".encode()).digest()[:3]
    return hashlib.sha256(socket.gethostname().encode()).digest()[:3]


def remove(path: Path) -> None:
    """Delete a file, or a folder with all that is in it, if it exists."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _flush_to_disk(path: Path) -> None:
    if path.is_file():
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def slug(text: str) -> str:
    """Return `text` as a part of a file name: a-z, 0-9 and hyphens, 1 to 40 characters."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:40].strip("-") or "video"


def import_callable(name: str, kind: str) -> Any:
    """Import a user's function.

    Args:
        name: `module:function`, importable in the process that calls it.
        kind: role of the function in the error message, such as "detector".

    Raises:
        InputError: the function does not exist.
    """
    module_name, _, function_name = name.partition(":")
    try:
        return getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"got {kind} {name!r}, expected MODULE:FUNCTION that can be imported: {error}"
        ) from error
