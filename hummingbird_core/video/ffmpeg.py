"""The ffmpeg executable of imageio-ffmpeg, and the comment tag that it can write but not read."""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import MissingPackageError
from ..terminal import get_logger

MIN_VERSION = (5, 1)  # of ffmpeg: the first with -fps_mode
MAX_COMMENT_BYTES = 1 << 20  # more than any program writes
MAX_BOXES = 200_000  # a fragmented mp4 of a day has fewer; empty ones could be millions


def ffmpeg() -> Any:
    """Import the module imageio_ffmpeg, which includes an ffmpeg executable.

    Raises:
        MissingPackageError: it is not installed, or it finds no ffmpeg.
    """
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise MissingPackageError(
            "video files need the package imageio-ffmpeg: pip install imageio-ffmpeg"
        ) from error
    try:
        imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise MissingPackageError(
            "imageio-ffmpeg found no ffmpeg: reinstall it, or set IMAGEIO_FFMPEG_EXE to one"
        ) from error
    # It warns of every video whose frames it turns or scales, as we want it to.
    get_logger("imageio_ffmpeg").setLevel("ERROR")
    return imageio_ffmpeg


def too_old() -> str | None:
    """Return the version of ffmpeg if it lacks options that reading needs, else None."""
    version = ffmpeg().get_ffmpeg_version()
    found = re.match(r"n?(\d+)\.(\d+)", version)  # builds from git have a hash, and are new
    is_old = found is not None and (int(found[1]), int(found[2])) < MIN_VERSION
    return version if is_old else None


def mp4_comment(path: Path) -> str | None:
    """Return the comment of the mp4 at `path`, or None if it is absent, truncated or damaged.

    ffmpeg writes the iTunes tag: boxes moov > udta > meta > ilst > (c)cmt > data.
    """
    end = path.stat().st_size
    with path.open("rb") as file:
        for name in (b"moov", b"udta", b"meta", b"ilst", b"\xa9cmt", b"data"):
            found = _enter_box(file, name, end)
            if found is None:
                return None
            end = found
            if name == b"meta":
                file.seek(4, os.SEEK_CUR)  # version and flags
        file.seek(8, os.SEEK_CUR)  # type and locale of the text
        size = min(max(0, end - file.tell()), MAX_COMMENT_BYTES)
        return file.read(size).decode("utf-8", errors="replace")


def _enter_box(file: BinaryIO, name: bytes, end: int) -> int | None:
    """Move to the contents of the next box `name` before `end` and return the end of the box.

    ISO/IEC 14496-12, 4.2: a box starts with a big-endian 32-bit size, which includes the header,
    and a four-letter type; size 1 means that a 64-bit size follows, 0 that the box extends to the
    end.
    """
    for _ in range(MAX_BOXES):
        if (start := file.tell()) + 16 > end:
            break
        size, kind = struct.unpack(">I4s", file.read(8))
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8))
        box_end = start + size if size else end
        if box_end < file.tell() or box_end > end:
            return None
        if kind == name:
            return box_end
        file.seek(box_end)
    return None
