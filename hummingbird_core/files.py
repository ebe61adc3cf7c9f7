"""Files: atomic writes, content hashes, names, and imports of user functions."""

from __future__ import annotations

import hashlib
import importlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from .errors import HummingbirdError, InputError, OutputError

ASSETS = Path(__file__).parent / "assets"  # data files of the package
WEIGHTS_SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
READ_CHUNK = 1 << 22  # bytes; large enough that the loop's overhead is negligible

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
        OutputError: the file exists already, or the folder cannot be created.
    """
    if destination.is_dir():
        raise OutputError(f"got folder {destination}, expected a file name: add one")
    if destination.exists() and not overwrite:
        raise OutputError(f"{destination} exists already: choose another name, or ask to overwrite")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make folder {destination.parent}: {error.strerror}") from error


@contextmanager
def atomic_write(destination: Path) -> Iterator[Path]:
    """Give a temporary path to write, and rename it to `destination` once all is on the disk.

    Whatever is at that path afterwards, a file or a folder, replaces an older one. An error or
    Ctrl-C removes it and leaves the older one as it was. Missing parent folders are made.

    Raises:
        OutputError: the file system refuses to write.
    """
    # A sibling, as a rename is atomic within one file system only. The suffix stays last:
    # encoders choose their format by it.
    temporary = destination.with_name(f".{os.urandom(4).hex()}-{destination.name}")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            _flush_to_disk(temporary)
            os.replace(temporary, destination)
        finally:
            remove(temporary)
    except HummingbirdError:
        raise
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(
            f"cannot write {destination}: {reason}; free some space or choose another folder"
        ) from error


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
