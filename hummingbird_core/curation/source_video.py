"""One video of a source: where its bytes are, and its caption."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import InputError
from ..inputs.archives import copy_part
from ..inputs.parquet import write_cell


@dataclass(frozen=True)
class SourceVideo:
    """One video to curate.

    Args:
        name: name in the manifest, relative to the source, with forward slashes.
        path: the file that holds the video.
        caption: the caption, "" if there is none.
        offset: position in `path` if that is a tar file, row if it is a parquet file; None if
            `path` is the video itself.
        size: bytes in the tar file; 0 otherwise.
        column: column of the parquet file; "" otherwise.
        error: reason found on listing why it cannot be used; "" otherwise.
    """

    name: str
    path: str
    caption: str = ""
    offset: int | None = None
    size: int = 0
    column: str = ""
    error: str = ""

    @contextmanager
    def on_disk(self) -> Iterator[Path]:
        """Yield the video as a separate file; one inside of another file is copied out.

        Raises:
            InputError: listing found a reason why it cannot be used, or its bytes are not there.
        """
        if self.error:
            raise InputError(self.error)
        if self.offset is None:
            yield Path(self.path)
            return
        with tempfile.TemporaryDirectory(prefix="hummingbird-") as folder:
            # Never the member's name: a hostile archive could choose where we write.
            file = Path(folder) / f"video{self._plain_suffix()}"
            if self.column:
                write_cell(Path(self.path), self.column, self.offset, file)
            else:
                copy_part(Path(self.path), self.offset, self.size, file)
            try:
                yield file
            except InputError as error:  # the temporary name says nothing
                reason = str(error).removeprefix(f"{file.name} ")
                raise InputError(f"{self.file_name} {reason}") from error

    @property
    def file_name(self) -> str:
        """Name of the video alone, with which errors about its content begin."""
        return Path(self.path).name if self.offset is None else PurePosixPath(self.name).name

    def _plain_suffix(self) -> str:
        suffix = PurePosixPath(self.name).suffix
        return suffix if suffix[1:].isalnum() and len(suffix) <= 10 else ""

    def cache_key(self) -> str:
        """Return the journal key of the video, which changes whenever its content may change."""
        try:
            status = Path(self.path).stat()
        except (OSError, ValueError):
            return json.dumps([self.name])
        key = [self.name, self.offset, status.st_size, status.st_mtime_ns]
        # A caption may be mended without a change of the video.
        return json.dumps([*key, self.error] if self.error else key)
