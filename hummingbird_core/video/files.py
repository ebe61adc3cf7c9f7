"""Write videos with their generation settings inside the file.

| suffix  | format                                    | location of the settings        |
|---------|-------------------------------------------|---------------------------------|
| `.mp4`  | H.264, yuv420p: plays everywhere          | container tag `comment`         |
| `.gif`  | at most 256 colors a frame                | comment block                   |
| `.webp` | animated, true color                      | EXIF `ImageDescription`         |
| `.png`  | folder of that name: `00000.png`, ...     | text chunk `Comment`, each file |

Settings are one JSON object, which always has `fps`. Files are written atomically: to a temporary
sibling that is renamed when it is complete.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, OutputError
from ..files import atomic_write
from ..inputs.text import reason_not_text
from .animation import write_animation
from .ffmpeg import ffmpeg, mp4_comment
from .frame_folder import remove_old_frames, write_frame_folder, write_png

SUFFIXES = (".mp4", ".gif", ".webp", ".png")
# Of the settings in an mp4, which travel as an argument of ffmpeg: Linux allows 131,072 bytes for
# one argument, Windows 32,767 characters for all.
MAX_MP4_SETTINGS = 30_000 if os.name == "nt" else 120_000


def write_video(
    path: str | Path,
    frames: np.ndarray,
    fps: float,
    metadata: dict[str, Any] | None = None,
    encoder: Sequence[str] = (),
) -> Path:
    """Write frames in the format of the suffix of `path`, replacing an existing file.

    An odd height or width gets one repeated row or column in an mp4, whose chroma planes have half
    the resolution.

    Args:
        path: the output, with one of `SUFFIXES`.
        frames: uint8 [T, H, W, 3].
        fps: frames per second.
        metadata: settings to store.
        encoder: additional options of ffmpeg for an mp4.

    Returns:
        the path written, see `written_path`.

    Raises:
        InputError: frames or fps are out of range.
        OutputError: the file cannot be written.
    """
    frames = _check_frames(frames)
    if not fps > 0:
        raise InputError(f"fps is {fps}, expected a number above 0")
    target = written_path(path)
    settings = {**(metadata or {}), "fps": fps}
    comment = json.dumps(settings)
    with atomic_write(target) as temporary:
        if Path(path).suffix.lower() == ".png":
            write_frame_folder(temporary, frames, comment)
            remove_old_frames(target)
        elif target.suffix.lower() == ".mp4":
            _write_mp4(temporary, frames, fps, _argument(settings), encoder)
        else:
            write_animation(temporary, frames, fps, comment)
    return target


def written_path(path: str | Path) -> Path:
    """Return where `write_video(path, ...)` writes: `clip.png` means the folder `clip`.

    Raises:
        OutputError: the suffix is not one of `SUFFIXES`.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise OutputError(
            f"output {str(path)!r} has suffix {path.suffix!r}, expected one of "
            f"{', '.join(SUFFIXES)}: rename the output"
        )
    return path.with_suffix("") if path.suffix.lower() == ".png" else path


def write_contact_sheet(
    path: str | Path,
    frames: np.ndarray,
    columns: int | None = None,
    metadata: dict[str, Any] | None = None,
) -> Path:
    """Write all frames as one PNG, row by row.

    Args:
        path: the output, with suffix `.png`.
        frames: uint8 [T, H, W, 3].
        columns: frames in a row; None gives an approximately square grid.
        metadata: settings to store.

    Raises:
        InputError: bad frames, fewer than one column or another suffix.
        OutputError: the file cannot be written.
    """
    frames, path = _check_frames(frames), Path(path)
    columns = columns if columns is not None else math.ceil(math.sqrt(len(frames)))
    if columns < 1:
        raise InputError(f"columns is {columns}, expected 1 or more")
    if path.suffix.lower() != ".png":
        raise InputError(f"contact sheet {str(path)!r} is not a .png file: rename it")
    missing = -len(frames) % columns
    padded = np.pad(frames, ((0, missing), (0, 0), (0, 0), (0, 0)))
    # [R*C, H, W, 3] -> [R, C, H, W, 3] -> [R, H, C, W, 3] -> [R*H, C*W, 3]
    rows = padded.reshape(-1, columns, *frames.shape[1:]).swapaxes(1, 2)
    sheet = rows.reshape(-1, columns * frames.shape[2], 3)
    with atomic_write(path) as temporary:
        write_png(temporary, sheet, json.dumps(metadata or {}))
    return path


def _check_frames(frames: np.ndarray) -> np.ndarray:
    frames = np.asarray(frames)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or not frames.size:
        raise InputError(
            f"frames are {frames.dtype} {list(frames.shape)}, expected uint8 [T,H,W,3], not empty"
        )
    return frames


def _argument(settings: dict[str, Any]) -> str:
    """Return settings as JSON for an argument of ffmpeg.

    Raises:
        InputError: they are too long for one.
    """
    is_unicode = sys.getfilesystemencoding() == "utf-8"  # else only ASCII is safe in an argument
    text = json.dumps(settings, ensure_ascii=not is_unicode)
    if reason_not_text(text):  # half a surrogate pair, which JSON can escape
        text = json.dumps(settings)
    if (size := len(text.encode())) > MAX_MP4_SETTINGS:
        raise InputError(
            f"got settings of {size:,} bytes for an mp4, expected at most {MAX_MP4_SETTINGS:,}: "
            "shorten the prompt, or write .webp or .png"
        )
    return text


def _write_mp4(
    path: Path, frames: np.ndarray, fps: float, comment: str, encoder: Sequence[str]
) -> None:
    height, width = frames.shape[1:3]
    even = frames
    if height % 2 or width % 2:
        even = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    writer = ffmpeg().write_frames(
        str(path.absolute()),  # in a relative name, ffmpeg takes a colon for a protocol
        (even.shape[2], even.shape[1]),
        fps=fps,
        codec="libx264",
        quality=8,
        macro_block_size=2,
        ffmpeg_log_level="quiet",
        # At this quality this preset does not enlarge files, and halves the time for a small video.
        output_params=["-preset", "veryfast", "-metadata", f"comment={comment}", *encoder],
    )
    try:
        with closing(writer):
            writer.send(None)
            for frame in even:
                writer.send(np.ascontiguousarray(frame))
    except OSError as error:  # its text is the whole ffmpeg command, useless to users
        raise _encoder_failed(path) from error
    # The library hides ffmpeg's exit code. The comment is in the index, which is written last: a
    # comment that reads back proves a complete file.
    if not path.exists() or mp4_comment(path) != comment:
        raise _encoder_failed(path)


def _encoder_failed(path: Path) -> OutputError:
    free = shutil.disk_usage(path.parent).free / 2**20
    return OutputError(
        f"ffmpeg could not finish the mp4 in {path.parent} ({free:.0f} MiB free): "
        "make space, or choose another folder or format"
    )
