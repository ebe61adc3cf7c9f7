"""List videos and captions from a folder, a table or WebDataset shards.

Listing opens no video: a broken one fails later, by itself.
"""

from __future__ import annotations

import csv
import json
import tarfile
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import InputError, MissingPackageError

VIDEO_SUFFIXES = frozenset(
    [".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".flv", ".wmv"]
)
TABLE_SUFFIXES = (".csv", ".jsonl", ".parquet")
CAPTION_SUFFIXES = (".txt", ".json")
VIDEO_COLUMNS = ("video", "path", "file", "file_name", "filename", "video_path")
CAPTION_COLUMNS = ("caption", "text", "prompt", "description", "name")
MAX_CAPTION = 10_000  # characters; a longer "caption" is an error that would bloat the manifest


@dataclass(frozen=True)
class SourceVideo:
    """One video to curate.

    Args:
        name: name in the manifest, relative to the source, with forward slashes.
        path: the file that holds the video.
        caption: the caption, "" if there is none.
        offset: position in `path` if that is a tar file; None if `path` is the video itself.
        size: bytes in the tar file; 0 if `path` is the video itself.
        error: reason found on listing why there is no video; "" otherwise.
    """

    name: str
    path: str
    caption: str = ""
    offset: int | None = None
    size: int = 0
    error: str = ""

    @contextmanager
    def on_disk(self) -> Iterator[Path]:
        """Yield the video as a separate file; a tar member is copied to a temporary one.

        Raises:
            InputError: listing found no video there.
        """
        if self.error:
            raise InputError(self.error)
        if self.offset is None:
            yield Path(self.path)
            return
        with tempfile.TemporaryDirectory(prefix="hummingbird-") as folder:
            # Never the member's name: a hostile archive could choose where we write.
            file = Path(folder) / f"video{PurePosixPath(self.name).suffix}"
            with open(self.path, "rb") as archive:
                archive.seek(self.offset)
                file.write_bytes(archive.read(self.size))
            yield file

    def cache_key(self) -> str:
        """Return the journal key of the video, which changes whenever its content may change."""
        try:
            status = Path(self.path).stat()
        except OSError:
            return json.dumps([self.name])
        return json.dumps([self.name, self.offset, status.st_size, status.st_mtime_ns])


def list_sources(
    source: Path,
    *,
    video_column: str | None = None,
    caption_column: str | None = None,
    suffixes: Collection[str] = VIDEO_SUFFIXES,
) -> list[SourceVideo]:
    """List the videos of `source`, sorted by name.

    Args:
        source: a folder (videos with `.txt` or `.json` captions of the same name, or `.tar`
            shards), a `.csv`, a `.jsonl`, a `.parquet` or a `.tar` file.
        video_column: column of paths, relative to the table's folder; None tries common names.
        caption_column: column of captions; None tries common names.
        suffixes: suffixes of videos in a folder or shard, in lower case.

    Raises:
        InputError: `source` is missing, of unknown format, damaged, or holds no video.
    """
    if source.is_dir():
        found = [*_list_folder(source, suffixes)]
    elif source.suffix.lower() == ".tar" and source.is_file():
        found = [*_list_tar(source, source.name, suffixes)]
    elif source.suffix.lower() in TABLE_SUFFIXES and source.is_file():
        found = [*_list_table(_table_rows(source), source, video_column, caption_column)]
    else:
        raise InputError(
            f"got {source}, expected a folder, or a {', '.join(TABLE_SUFFIXES)} or .tar file that "
            "exists"
        )
    if not found:
        raise InputError(f"found no videos in {source}: expected {' '.join(sorted(suffixes))}")
    # The first of several rows about one video counts.
    return sorted({video.name: video for video in reversed(found)}.values(), key=lambda v: v.name)


def as_unicode(text: str) -> str:
    """Escape bytes of a file name that are not valid text, which a manifest cannot hold."""
    return text.encode("utf-8", errors="backslashreplace").decode()


def _list_folder(folder: Path, suffixes: Collection[str]) -> Iterator[SourceVideo]:
    for path in folder.rglob("*"):
        if path.name.startswith("."):  # unfinished files, and macOS metadata
            continue
        name = as_unicode(path.relative_to(folder).as_posix())
        if path.suffix.lower() in suffixes and path.is_file():
            yield SourceVideo(name, str(path.resolve()), _sidecar_caption(path))
        elif path.suffix.lower() == ".tar" and path.is_file():
            try:
                yield from _list_tar(path, name, suffixes)
            except InputError as error:  # only the rest of this shard is lost
                yield SourceVideo(name, str(path.resolve()), error=str(error))


def _sidecar_caption(video: Path) -> str:
    for suffix in CAPTION_SUFFIXES:
        with suppress(OSError):
            if caption := _caption_in(video.with_suffix(suffix).read_bytes(), suffix):
                return caption
    return ""


def _caption_in(data: bytes, suffix: str) -> str:
    text = data.decode("utf-8-sig", errors="replace")
    if suffix == ".json":
        try:
            fields = json.loads(text)
        except ValueError:
            return ""
        text = _first(fields, CAPTION_COLUMNS) if isinstance(fields, dict) else ""
    return clean_caption(text)


def clean_caption(text: Any) -> str:
    """Return the caption as one line without control characters; "" if it is not text."""
    if not isinstance(text, str):
        return ""
    printable = "".join(c if c.isprintable() else " " for c in text[:MAX_CAPTION])
    return " ".join(as_unicode(printable).split())


def _list_tar(archive: Path, name: str, suffixes: Collection[str]) -> Iterator[SourceVideo]:
    """List a WebDataset shard: members with equal paths up to the first dot form one sample.

    Raises:
        InputError: the file is damaged; raised after the readable members.
    """
    captions: dict[str, str] = {}
    videos: list[tuple[str, str, int, int]] = []
    damage: Exception | None = None
    try:
        with tarfile.open(archive, "r:") as tar:
            for member in tar:
                key, suffix = _sample_key(member.name)
                if suffix in suffixes and member.isreg():
                    videos.append(
                        (key, f"{name}/{as_unicode(member.name)}", member.offset_data, member.size)
                    )
                elif suffix in CAPTION_SUFFIXES and member.isreg() and key not in captions:
                    file = tar.extractfile(member)
                    if caption := _caption_in(file.read(), suffix) if file else "":
                        captions[key] = caption
    except (tarfile.TarError, OSError, EOFError) as error:
        damage = error
    for key, full_name, offset, size in videos:
        yield SourceVideo(full_name, str(archive.resolve()), captions.get(key, ""), offset, size)
    if damage:
        raise InputError(
            f"cannot read {archive.name} as a tar file: {damage}; get it again, or unpack it if it "
            "is compressed"
        ) from damage


def _sample_key(member: str) -> tuple[str, str]:
    path = PurePosixPath(member)
    stem, _, extensions = path.name.partition(".")
    return str(path.parent / stem), f".{extensions}".lower()


def _list_table(
    rows: Iterable[Mapping[str, Any]],
    table: Path,
    video_column: str | None,
    caption_column: str | None,
) -> Iterator[SourceVideo]:
    videos = (video_column,) if video_column else VIDEO_COLUMNS
    captions = (caption_column,) if caption_column else CAPTION_COLUMNS
    for number, row in enumerate(rows, start=1):
        video = _first(row, videos)
        if video is not None:
            path = (table.parent / str(video)).resolve()
            caption = clean_caption(_first(row, captions))
            yield SourceVideo(as_unicode(str(video)), str(path), caption)
        elif number == 1 and not set(row) & set(videos):
            raise InputError(
                f"got row {number} of {table.name} with {', '.join(map(str, row))}, "
                f"expected a path in one of {', '.join(videos)}: name it with --video-column"
            )
        else:
            reason = f"got row {number} of {table.name} without a path, expected one: fill it in"
            yield SourceVideo(f"{table.name} row {number}", str(table.resolve()), error=reason)


def _first(row: Mapping[str, Any], names: Iterable[str]) -> Any:
    """Return the first non-empty entry of `row` under one of `names`."""
    return next((row[name] for name in names if row.get(name)), None)


def _table_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    readers = {".csv": _csv_rows, ".jsonl": _jsonl_rows, ".parquet": _parquet_rows}
    return readers[path.suffix.lower()](path)


def _csv_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            yield from csv.DictReader(file)
    except (csv.Error, UnicodeDecodeError, OSError) as error:
        raise InputError(f"cannot read {path} as a UTF-8 CSV file: {error}") from error


def _jsonl_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            rows = (json.loads(line) for line in file if line.strip())
            yield from (row if isinstance(row, dict) else {} for row in rows)
    except (ValueError, OSError) as error:
        raise InputError(f"cannot read {path} as lines of JSON: {error}") from error


def _parquet_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    parquet = require_parquet()
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                yield from batch.to_pylist()
    except (OSError, ValueError) as error:  # pyarrow's errors derive from these two
        raise InputError(f"cannot read {path} as a parquet file: {error}") from error


def require_parquet() -> Any:
    """Import the module `pyarrow.parquet`.

    Raises:
        MissingPackageError: pyarrow is not installed.
    """
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingPackageError(
            "curation needs the package pyarrow: pip install pyarrow"
        ) from error
    return pyarrow.parquet
