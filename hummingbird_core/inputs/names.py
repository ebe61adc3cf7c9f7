"""Names of files that people give, in lists and as folders."""

from __future__ import annotations

import os
import re
import stat
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..errors import InputError
from .text import describe, reason_not_text

_ADDRESS = re.compile(r"\s*[a-z][a-z0-9+.-]+://", re.IGNORECASE)  # as "https://" or "s3://"
MAX_PATH = 4096  # characters; longer than any path that a system can open


def kind_of(path: Path) -> Literal["folder", "file", "other", "missing"]:
    """Return what a path leads to; a name that no file can have leads to nothing."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # too long, or with a NUL
        return "missing"
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) else "other"


@dataclass
class Folder:
    """The visible files of a folder.

    Attributes:
        path: the folder.
        files: regular files, and links to such, sorted by name.
        folders: folders, and links to such.
        unusable: other entries, such as broken links and pipes, with the reason.
    """

    path: Path
    files: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    unusable: dict[Path, str] = field(default_factory=dict)


def walk(folder: Path) -> Iterator[Folder]:
    """Yield a folder and all folders in it, each once, however many links lead to it.

    Links to folders are followed after all others, so that a link never changes the name under
    which a file inside of the folder is found. Hidden files and folders are left out.
    """
    seen: set[tuple[int, int]] = set()
    folders, links = [folder], deque[Path]()
    while folders or links:
        path = folders.pop() if folders else links.popleft()
        found = Folder(path)
        try:
            status = path.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            entries = sorted(os.scandir(path), key=lambda entry: entry.name)
        except OSError as error:
            found.unusable[path] = f"cannot be read: {error.strerror or error}"
            entries = []
        for entry in entries:
            if not entry.name.startswith("."):
                _sort_in(entry, found, folders, links)
        yield found


def _sort_in(
    entry: os.DirEntry[str], found: Folder, folders: list[Path], links: deque[Path]
) -> None:
    path = Path(entry.path)
    try:
        mode = entry.stat().st_mode  # of a link, that of its target
    except OSError as error:
        reason = "is a broken link" if entry.is_symlink() else f"cannot be read: {error.strerror}"
        found.unusable[path] = reason
        return
    if stat.S_ISDIR(mode):
        found.folders.append(path)
        (links if entry.is_symlink() else folders).append(path)
    elif stat.S_ISREG(mode):
        found.files.append(path)
    else:
        found.unusable[path] = "is no regular file"


def listed_path(folder: Path, text: Any) -> Path:
    """Return the path that a list in `folder` names, made absolute; the file may be missing.

    Raises:
        InputError: `text` is not the name of a file.
    """
    if isinstance(text, bytes):
        text = text[: MAX_PATH + 1].decode("utf-8", errors="surrogateescape")
    if not isinstance(text, str):
        raise InputError(f"has {describe(text)}, expected the path of a file")
    if _ADDRESS.match(text):
        raise InputError(f"has the address {describe(text)}, expected a path: download the file")
    reason = "is too long" if len(text) > MAX_PATH else reason_not_text(text)
    if reason:
        raise InputError(f"has a path that {reason}: correct {describe(text)}")
    return (folder / text).absolute()
