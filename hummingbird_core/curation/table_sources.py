"""Videos and captions in a table: CSV, lines of JSON, or parquet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import InputError
from ..inputs.names import listed_path
from ..inputs.parquet import StoredVideo, open_parquet
from ..inputs.tables import Row, Table, column_key, open_csv, open_jsonl
from ..inputs.text import as_unicode
from ..terminal import get_logger
from .caption_text import CAPTION_COLUMNS, EVENTS_COLUMN, caption_of, first_filled
from .notices import Notices
from .source_video import SourceVideo

logger = get_logger(__name__)

TABLE_SUFFIXES = (".csv", ".jsonl", ".parquet")
MAX_BROKEN = 1000  # rows more than usable ones
VIDEO_COLUMNS = ("video", "path", "file", "file_name", "filename", "video_path")


def list_table(
    table: Path, video_column: str | None, caption_column: str | None, notices: Notices
) -> Iterator[SourceVideo]:
    """List the videos of a table; paths are relative to its folder.

    Args:
        table: a file with one of `TABLE_SUFFIXES`.
        video_column: column of paths or videos; None takes the first of `VIDEO_COLUMNS`.
        caption_column: column of captions; None takes the first of `CAPTION_COLUMNS`.
        notices: gets the rows that name a video again.

    Raises:
        InputError: the file cannot be read, has no such column, or most rows are broken.
    """
    videos = (column_key(video_column),) if video_column else VIDEO_COLUMNS
    captions = (column_key(caption_column),) if caption_column else CAPTION_COLUMNS
    has_rows = has_captions = False
    with _open(table, videos, (*captions, EVENTS_COLUMN)) as opened:
        _check_columns(opened, table, videos, captions if caption_column else ())
        _check_caption_type(opened, table, captions)
        if opened.repeated:
            logger.warning(
                "%s has more than one column %s: of each row the first that is not empty is used",
                *(table.name, ", ".join(opened.repeated)[:200]),
            )
        seen: set[str] = set()
        for row, video in _not_hopeless(opened.rows, table, videos, captions):
            has_rows = True
            has_captions |= bool(row.error) or any(
                name in row.values for name in (*captions, EVENTS_COLUMN)
            )
            if video.offset is None and not video.error and video.path in seen:
                where = f"row {row.number} ({video.name})"
                notices.add("rows that name a video again, whose first caption counts", where)
                continue
            seen.add(video.path)
            yield video
    if not has_rows:
        logger.warning("%s has no rows below its header: save the table again", table.name)
    elif not has_captions:
        logger.warning(
            "%s has %s, expected captions in one of %s: all captions are empty",
            *(table.name, opened.describe(), ", ".join(captions)),
        )


def _not_hopeless(
    rows: Iterable[Row], table: Path, videos: Sequence[str], captions: Sequence[str]
) -> Iterator[tuple[Row, SourceVideo]]:
    """Yield the rows with their videos.

    Raises:
        InputError: far more rows are broken than usable: each would be kept with its reason.
    """
    balance = 0
    for row in rows:
        video = _video(row, table, videos, captions)
        balance += -1 if video.error else 1
        if balance < -MAX_BROKEN:
            raise InputError(f"most rows of {table.name} are unusable, such as: {video.error}")
        yield row, video


def _open(
    table: Path, videos: Sequence[str], captions: Sequence[str]
) -> AbstractContextManager[Table]:
    suffix = table.suffix.lower()
    if suffix == ".parquet":
        return open_parquet(table, videos, captions)
    return open_jsonl(table) if suffix == ".jsonl" else open_csv(table, {*videos, *captions})


def _check_columns(
    opened: Table, table: Path, videos: Sequence[str], captions: Sequence[str]
) -> None:
    """Raise InputError if a table whose rows are all alike lacks a column.

    Args:
        opened: the table.
        table: its file.
        videos: keys of columns of which one is expected.
        captions: likewise; may be empty.
    """
    if table.suffix.lower() == ".jsonl":
        return
    for names, option in ((videos, "--video-column"), (captions, "--caption-column")):
        if names and not any(name in opened.columns for name in names):
            raise InputError(
                f"got {table.name} with {opened.describe()}, expected one of "
                f"{', '.join(names)}: name it with {option}"
            )


def _check_caption_type(opened: Table, table: Path, names: Sequence[str]) -> None:
    """Raise InputError if captions are numbers or lists: they would all be empty in silence."""
    wrong = [opened.unusable[name] for name in names if name in opened.unusable]
    if wrong and not any(name in opened.columns for name in names):
        raise InputError(
            f"got {table.name} with the caption column {wrong[0]}, expected text: store the "
            "captions as text, or rename the column"
        )


def _video(row: Row, table: Path, videos: Sequence[str], captions: Sequence[str]) -> SourceVideo:
    where = f"row {row.number} of {table.name}"
    file = str(table.absolute())
    try:
        if row.error:
            raise InputError(f"{where} {row.error}")
        cell = first_filled(row.values, videos)
        caption = caption_of(row.values, captions, where)
        if isinstance(cell, StoredVideo):
            return _stored(cell, row, table, caption)
        name, path = _path(cell, where, table, row, videos)
    except InputError as error:
        return SourceVideo(f"{table.name} row {row.number}", file, error=str(error))
    return SourceVideo(name, path, caption)


def _path(cell: Any, where: str, table: Path, row: Row, videos: Sequence[str]) -> tuple[str, str]:
    if isinstance(cell, dict):  # as Hugging Face datasets write videos and files
        cell = cell.get("path")
    if cell is None:
        names = ", ".join(map(str, row.values))[:100] or "nothing"
        raise InputError(
            f"got {where} without a path ({names}), expected one in {', '.join(videos)}: fill it "
            "in, or name the column with --video-column"
        )
    try:
        path = listed_path(table.parent, cell)
    except InputError as error:
        raise InputError(f"{where} {error}") from error
    return as_unicode(cell), str(path)


def _stored(cell: StoredVideo, row: Row, table: Path, caption: str) -> SourceVideo:
    """Return a video in a parquet file, or the file of its stated path if that exists."""
    with suppress(InputError, OSError):
        if cell.path and (path := listed_path(table.parent, cell.path)).is_file():
            return SourceVideo(as_unicode(cell.path), str(path), caption)
    name = f"{table.name}/row {row.number} {PurePosixPath(cell.path).name}".strip()
    file = str(table.absolute())
    return SourceVideo(as_unicode(name), file, caption, offset=cell.row, column=cell.column)
