"""List videos and captions from a folder, a table or WebDataset shards.

Listing opens no video: a broken one fails later, by itself. An entry that cannot be used becomes a
video with an error, which costs no other and is reported by its name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from ..errors import InputError
from ..inputs.names import Folder, kind_of, walk
from ..inputs.text import as_unicode, read_bytes
from .caption_text import CAPTION_SUFFIXES, MAX_CAPTION_BYTES, caption_in
from .notices import Notices
from .shard_sources import list_shard
from .source_video import SourceVideo
from .table_sources import TABLE_SUFFIXES, list_table

VIDEO_SUFFIXES = frozenset(
    [".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".flv", ".wmv"]
)
SHARD_SUFFIX = ".tar"
PACKED_SUFFIXES = (".tgz", ".gz", ".zip", ".zst", ".xz", ".bz2", ".7z", ".rar")

# File and, if it cannot be read, the reason, by stem and suffix.
_CaptionFiles = dict[tuple[str, str], tuple[Path, str]]


def list_sources(
    source: Path,
    *,
    video_column: str | None = None,
    caption_column: str | None = None,
    suffixes: Collection[str] = VIDEO_SUFFIXES,
) -> list[SourceVideo]:
    """List the videos of `source`, sorted by name; odd entries are counted in warnings.

    Args:
        source: a folder (videos with `.txt` or `.json` captions of the same name, or `.tar`
            shards), a `.csv`, a `.jsonl`, a `.parquet` or a `.tar` file.
        video_column: column of paths, relative to the table's folder, or of the videos themselves
            in a parquet file; None tries common names.
        caption_column: column of captions; None tries common names.
        suffixes: suffixes of videos in a folder or shard, in lower case.

    Raises:
        InputError: `source` is missing, of unknown format, or holds no usable video.
    """
    notices = Notices()
    suffix, kind = source.suffix.lower(), kind_of(source)
    if kind == "folder":
        found = _list_folder(source, suffixes, notices)
    elif suffix == SHARD_SUFFIX and kind == "file":
        found = list_shard(source, as_unicode(source.name), suffixes, notices)
    elif suffix in TABLE_SUFFIXES and kind == "file":
        found = list_table(source, video_column, caption_column, notices)
    else:
        raise InputError(
            f"got {source}, expected a folder, or a {', '.join(TABLE_SUFFIXES)} or .tar file that "
            "exists"
        )
    videos: dict[str, SourceVideo] = {}
    for video in found:
        if videos.setdefault(video.name, video) is not video:
            notices.add("videos of the same name, of which the first counts", video.name)
    notices.log(as_unicode(source.name))
    _check_usable(source, videos.values(), suffixes)
    return sorted(videos.values(), key=lambda video: video.name)


def _check_usable(source: Path, videos: Collection[SourceVideo], suffixes: Collection[str]) -> None:
    if not videos:
        raise InputError(f"found no videos in {source}: expected {' '.join(sorted(suffixes))}")
    errors = [video.error for video in videos if video.error]
    if len(errors) == len(videos):
        others = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
        raise InputError(f"found no usable video in {source}: {errors[0]}{others}")


def _list_folder(root: Path, suffixes: Collection[str], notices: Notices) -> Iterator[SourceVideo]:
    for folder in walk(root):
        captions = _caption_files(folder)
        for path in folder.files:
            name = as_unicode(path.relative_to(root).as_posix())
            suffix = path.suffix.lower()
            if suffix in suffixes:
                yield _with_caption(path, name, captions)
            elif suffix == SHARD_SUFFIX:
                yield from list_shard(path, name, suffixes, notices)
            elif suffix in PACKED_SUFFIXES:
                notices.add("packed files, which are not read: unpack them", name)
        for path, reason in folder.unusable.items():
            if path == folder.path or path.suffix.lower() in (*suffixes, SHARD_SUFFIX):
                name = as_unicode(path.relative_to(root).as_posix())
                yield SourceVideo(name, str(path.absolute()), error=f"{name} {reason}")


def _caption_files(folder: Folder) -> _CaptionFiles:
    found = [
        *((path, "") for path in folder.files),
        *((path, "is a folder") for path in folder.folders),
        *folder.unusable.items(),
    ]
    return {
        (path.stem, path.suffix.lower()): (path, reason)
        for path, reason in found
        if path.suffix.lower() in CAPTION_SUFFIXES
    }


def _with_caption(path: Path, name: str, captions: _CaptionFiles) -> SourceVideo:
    """Return a video with the first caption in the files next to it."""
    video = str(path.absolute())
    for suffix in CAPTION_SUFFIXES:
        if (path.stem, suffix) not in captions:
            continue
        file, reason = captions[path.stem, suffix]
        try:
            if reason:  # such as a pipe, which would be waited for
                raise InputError(f"{file.name} {reason}")
            text = caption_in(read_bytes(file, MAX_CAPTION_BYTES), suffix, file.name)
        except InputError as error:
            return SourceVideo(name, video, error=as_unicode(str(error)))
        if text:
            return SourceVideo(name, video, text)
    return SourceVideo(name, video)
