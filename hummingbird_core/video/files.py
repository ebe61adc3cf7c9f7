"""Read and write videos with their generation settings inside the file.

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
import re
import shutil
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from einops import rearrange

from ..errors import InputError, OutputError, first_line
from ..files import atomic_write
from .animation import EXIF_IMAGE_DESCRIPTION, image_errors, open_animation, write_animation
from .ffmpeg import ffmpeg, mp4_comment

SUFFIXES = (".mp4", ".gif", ".webp", ".png")
DEFAULT_FPS = 8.0  # of a frame folder without a rate; the models' rate
MAX_ANIMATION_BYTES = 4 << 30  # of decoded frames; a GIF of a few kilobytes can claim more
_FRAME_NAME = re.compile(r"\d{5,}\.png")


class VideoFile(NamedTuple):
    """The contents of a video file.

    Attributes:
        frames: uint8 [T, H, W, 3].
        fps: frames per second.
        metadata: the settings.
    """

    frames: np.ndarray
    fps: float
    metadata: dict[str, Any]


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
    comment = json.dumps({**(metadata or {}), "fps": fps})
    with atomic_write(target) as temporary:
        if Path(path).suffix.lower() == ".png":
            _write_frame_folder(temporary, frames, comment)
            _remove_old_frames(target)
        elif target.suffix.lower() == ".mp4":
            _write_mp4(temporary, frames, fps, comment, encoder)
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
    sheet = rearrange(padded, "(r c) h w k -> (r h) (c w) k", c=columns)
    with atomic_write(path) as temporary:
        _write_png(temporary, sheet, json.dumps(metadata or {}))
    return path


def read_video(path: str | Path) -> VideoFile:
    """Read an mp4 (or any format of ffmpeg), a GIF, a WebP or a folder of PNG frames.

    GIF and WebP store equal neighbors as one longer frame; they are read as separate frames again,
    except from a WebP without any change, which is stored as a single image.

    Raises:
        InputError: `path` is not a readable video.
    """
    path = Path(path)
    try:
        if path.is_dir():
            frames, fps = _read_frame_folder(path), None
        elif path.suffix.lower() in (".gif", ".webp"):
            frames, fps = _read_animation(path)
        else:
            frames, fps = _read_with_ffmpeg(path)
        metadata = read_metadata(path)
    except (OSError, RuntimeError, SyntaxError) as error:  # Pillow raises SyntaxError for bad PNGs
        raise InputError(f"cannot read {path} as a video: {first_line(error)}") from error
    return VideoFile(frames, fps or recorded_fps(metadata) or DEFAULT_FPS, metadata)


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Read the settings of a video or contact sheet without decoding it; {} if there are none.

    A comment of another program is returned as {"comment": text}.

    Raises:
        InputError: the image is damaged.
    """
    path = Path(path)
    text = _read_comment(path)
    if not text:
        return {}
    try:
        metadata = json.loads(text)
    except ValueError:
        return {"comment": text}
    return metadata if isinstance(metadata, dict) else {"comment": text}


def recorded_fps(metadata: dict[str, Any]) -> float | None:
    """Return the frame rate stored by `write_video`, or None if it is absent or invalid."""
    fps = metadata.get("fps")
    return float(fps) if isinstance(fps, int | float) and 0 < fps <= 1000 else None


def _check_frames(frames: np.ndarray) -> np.ndarray:
    frames = np.asarray(frames)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or not frames.size:
        raise InputError(
            f"frames are {frames.dtype} {list(frames.shape)}, expected uint8 [T,H,W,3], not empty"
        )
    return frames


# mp4


def _write_mp4(
    path: Path, frames: np.ndarray, fps: float, comment: str, encoder: Sequence[str]
) -> None:
    height, width = frames.shape[1:3]
    even = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    writer = ffmpeg().write_frames(
        path,
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


def _read_with_ffmpeg(path: Path) -> tuple[np.ndarray, float]:
    if not path.is_file():
        raise InputError(f"there is no video file {path}")
    with closing(ffmpeg().read_frames(path, pix_fmt="rgb24")) as reader:
        info = next(reader)
        width, height = info["size"]
        frames = [np.frombuffer(data, np.uint8).reshape(height, width, 3) for data in reader]
    if not frames:
        raise InputError(f"{path} holds no video frames")
    return np.stack(frames), float(info["fps"])


# GIF and WebP


def _read_animation(path: Path) -> tuple[np.ndarray, float]:
    with open_animation(path, recorded_fps(read_metadata(path))) as video:
        size = video.count * video.height * video.width * 3
        if size > MAX_ANIMATION_BYTES:
            raise InputError(
                f"{path} is {video.count} frames of {video.width}x{video.height}, expected at most "
                f"{MAX_ANIMATION_BYTES >> 30} GiB of frames: make it shorter or smaller"
            )
        return np.stack(list(video.frames)), video.fps


# PNG


def _write_png(path: Path, pixels: np.ndarray, comment: str) -> None:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    text.add_text("Comment", comment)
    Image.fromarray(pixels).save(path, format="PNG", pnginfo=text)


def _write_frame_folder(folder: Path, frames: np.ndarray, comment: str) -> None:
    folder.mkdir()
    for index, frame in enumerate(frames):
        _write_png(folder / f"{index:05d}.png", frame, comment)


def _remove_old_frames(folder: Path) -> None:
    """Delete an existing frame folder, provided it holds frames only."""
    if not folder.exists():
        return
    if not folder.is_dir() or any(not _FRAME_NAME.fullmatch(f.name) for f in folder.iterdir()):
        raise OutputError(
            f"{folder} exists and is not a folder of frames only: choose another output name"
        )
    shutil.rmtree(folder)


def _frame_files(folder: Path) -> list[Path]:
    files = sorted(file for file in folder.iterdir() if _FRAME_NAME.fullmatch(file.name))
    if not files:
        raise InputError(f"{folder} holds no frames: expected 00000.png, 00001.png, ...")
    return files


def _read_frame_folder(folder: Path) -> np.ndarray:
    from PIL import Image

    frames = []
    for file in _frame_files(folder):
        with Image.open(file) as image:
            frames.append(np.asarray(image.convert("RGB")))
    if len({frame.shape for frame in frames}) > 1:
        raise InputError(f"the frames in {folder} differ in size: keep one video in a folder")
    return np.stack(frames)


def _read_comment(path: Path) -> str | None:
    if path.suffix.lower() in (".mp4", ".m4v", ".mov"):
        return mp4_comment(path)
    file = _frame_files(path)[0] if path.is_dir() else path
    if file.suffix.lower() not in (".gif", ".webp", ".png"):
        return None
    from PIL import Image

    with image_errors(path), Image.open(file) as image:
        comment = image.info.get("Comment") or image.info.get("comment")
        comment = comment or image.getexif().get(EXIF_IMAGE_DESCRIPTION)
    return comment.decode("utf-8", errors="replace") if isinstance(comment, bytes) else comment
