"""Results on the disk as they come, so that no stop costs more than what was in flight.

A journal is a file of JSON lines, `{"key": ..., "value": ...}`. A line counts once its newline is
there: a kill in the middle of a write leaves a torn line, which the next start cuts off.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import OutputError

logger = logging.getLogger(__name__)


class Journal:
    """An append-only file of results, open for writing inside `with`.

    Args:
        path: the file; made, with its folder, when it is not there.

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
            self._file.close()  # writes once more what could not be written
        except OSError as failure:
            if error is None:
                raise _not_writable(self.path, failure) from failure

    def append(self, key: str, value: Any) -> None:
        """Add one result; it is with the operating system before this returns."""
        line = json.dumps({"key": key, "value": value}) + "\n"
        try:
            self._file.write(line.encode("ascii"))
            self._file.flush()
        except OSError as error:
            raise _not_writable(self.path, error) from error


def read_journal(path: Path) -> Iterator[tuple[str, Any]]:
    """All (key, value) of a journal in the order of writing, one at a time; none without a file.

    A damaged line costs itself only: it is left out with a warning, and what it was about counts
    as not done.
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
                    logger.warning("line %d of %s is damaged and left out", number, path)
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
