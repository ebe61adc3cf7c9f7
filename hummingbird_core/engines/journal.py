"""An append-only file of results, so that an interruption only loses unfinished work.

A journal is a file of JSON lines, `{"key": ..., "value": ...}`. A line is complete once it has its
newline: a kill during a write leaves a torn line, which the next start removes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import OutputError
from ..terminal import get_logger

logger = get_logger(__name__)


class Journal:
    """An append-only file of results, open for writing inside `with`.

    Args:
        path: the file; it and its folder are created if missing.

    Raises:
        OutputError: the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _cut_torn_line(path)
            self._file = path.open("ab")
        except OSError as error:
            raise _not_writable(path, error) from error

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._file.close()  # retries writes that failed
        except OSError as failure:
            if error is None:
                raise _not_writable(self.path, failure) from failure

    def append(self, key: str, value: Any) -> None:
        """Append one result and flush it to the operating system."""
        line = json.dumps({"key": key, "value": value}) + "\n"
        try:
            self._file.write(line.encode("ascii"))
            self._file.flush()
        except OSError as error:
            raise _not_writable(self.path, error) from error


def read_journal(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the (key, value) pairs of a journal in the order of writing; none without a file.

    A damaged line is skipped with a warning, and its result counts as missing.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.endswith(b"\n"):
                try:
                    entry = json.loads(line)
                    key, value = entry["key"], entry["value"]
                except (ValueError, KeyError, TypeError):
                    logger.warning("line %d of %s is damaged and skipped", number, path)
                else:
                    yield key, value


def _cut_torn_line(path: Path) -> None:
    if not path.exists():
        return
    with path.open("r+b") as file:
        end = whole = file.seek(0, os.SEEK_END)
        while whole:
            start = max(0, whole - 65536)
            file.seek(start)
            newline = file.read(whole - start).rfind(b"\n")
            if newline >= 0:
                whole = start + newline + 1
                break
            whole = start
        if whole < end:
            file.truncate(whole)


def _not_writable(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"cannot write {path}: {error.strerror or error}; free some space or choose another folder"
    )
