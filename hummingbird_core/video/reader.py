"""Read a video of any length frame by frame, in the memory of one frame.

    with open_video("clip.mp4") as video:
        for frame in video.frames: ...        # uint8 [H, W, 3]

`read_video` reads all frames of a short clip at once. Rotated videos are turned upright, and pixels
that are not square become so, as a player shows them. A video with a variable frame rate yields the
stored frames and the average rate.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import HummingbirdError, InputError, machine_advice
from ..inputs.names import kind_of
from .animation import open_animation
from .damage import is_cut_off, is_part_missing
from .decoder import decode
from .frame_folder import MAX_FRAMES_BYTES, read_frame_folder
from .header import SAFE_OPTIONS, VideoHeader, read_header
from .metadata import DEFAULT_FPS, read_metadata, recorded_fps

MAX_PIXELS = 8192 * 8192  # of a frame; a larger claim would exhaust the memory
MAX_FPS = 1000.0
_ANIMATIONS = (".gif", ".webp")
# By default ffmpeg repeats frames to make a variable rate constant, which looks frozen.
_EVERY_FRAME_ONCE = ["-fps_mode", "passthrough"]
# The file's texts stay out of ffmpeg's log, which states the size of the frames.
_NO_TEXTS = ["-map_metadata", "-1", "-map_chapters", "-1"]
_SQUARE_PIXELS = ["-vf", "scale=trunc(iw*sar+0.5):ih,setsar=1"]
MAX_PIXEL_ASPECT = 8.0  # or one divided by it; broadcast formats have 0.5 to 2


@dataclass(frozen=True)
class VideoStream:
    """An open video.

    Attributes:
        frames: uint8 `[H, W, 3]` each, RGB; an iterator for one pass.
        fps: rate of `frames`, after subsampling by `every`.
        width: pixels.
        height: pixels.
        duration: announced by the file, seconds; None if it is not.
    """

    frames: Iterator[np.ndarray]
    fps: float
    width: int
    height: int
    duration: float | None


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


def read_video(path: str | Path) -> VideoFile:
    """Read an mp4 (or any format of ffmpeg), a GIF, a WebP or a folder of PNG frames.

    GIF and WebP store equal neighbors as one longer frame; they are read as separate frames again,
    except from a WebP without any change, which is stored as a single image.

    Raises:
        InputError: `path` is not a readable video.
    """
    path = Path(path)
    with _one_line_errors(path), open_video(path) as video:
        _check_memory(path, video)
        frames = np.stack(list(video.frames))
        return VideoFile(frames, video.fps, read_metadata(path))


def _check_memory(path: Path, video: VideoStream) -> None:
    """Raise InputError if a file of a few kilobytes claims more frames than the memory holds."""
    count = round((video.duration or 0) * video.fps)
    if path.suffix.lower() not in _ANIMATIONS:  # of other formats the duration may be damaged
        return
    if count * video.height * video.width * 3 > MAX_FRAMES_BYTES:
        raise InputError(
            f"{path} is {count} frames of {video.width}x{video.height}, expected at most "
            f"{MAX_FRAMES_BYTES >> 30} GiB of frames: make it shorter or smaller"
        )


@contextmanager
def open_video(
    path: str | Path, *, every: int = 1, max_frames: int | None = None
) -> Iterator[VideoStream]:
    """Open a video file, or a folder of PNG frames, for one pass over its frames.

    Args:
        path: the video file or folder.
        every: yield every n-th frame only.
        max_frames: maximum number of frames; None reads all.

    Raises:
        InputError: on opening, if the file holds no video; while reading, if it is damaged. The
            message is one line that begins with the file's name.
    """
    path = Path(path)
    if every < 1:
        raise InputError(f"got every={every}, expected 1 or more")
    if kind_of(path) == "folder":
        opened = _open_folder(path)
    elif path.suffix.lower() in _ANIMATIONS:
        opened = _open_animation(path)
    else:
        opened = _open_with_ffmpeg(path)
    with opened as video:
        yield VideoStream(
            frames=islice(video.frames, 0, max_frames and max_frames * every, every),
            fps=video.fps / every,
            width=video.width,
            height=video.height,
            duration=video.duration,
        )


@contextmanager
def _open_folder(path: Path) -> Iterator[VideoStream]:
    """Open a folder of PNG frames; such folders are small enough to read at once."""
    with _one_line_errors(path):
        frames = read_frame_folder(path)
        fps = recorded_fps(read_metadata(path)) or DEFAULT_FPS
    count, height, width = frames.shape[:3]
    yield VideoStream(iter(frames), fps, width, height, count / fps)


@contextmanager
def _open_animation(path: Path) -> Iterator[VideoStream]:
    with _one_line_errors(path):
        _check_file(path)
    with open_animation(path, recorded_fps(read_metadata(path))) as video:
        _check_header(path, video.width, video.height, video.fps)
        duration = video.count / video.fps
        yield VideoStream(video.frames, video.fps, video.width, video.height, duration)


@contextmanager
def _open_with_ffmpeg(path: Path) -> Iterator[VideoStream]:
    with _one_line_errors(path):
        _check_file(path)
    header = _checked_header(path)
    scaling = [] if header.pixel_aspect == 1 else _SQUARE_PIXELS
    safe = [part for name, value in SAFE_OPTIONS.items() for part in (f"-{name}", value)]
    reader = decode(path, safe, [*scaling, *_EVERY_FRAME_ONCE, *_NO_TEXTS])
    with closing(reader):
        with _one_line_errors(path):
            width, height = next(reader)["size"]
        _check_header(path, width, height, header.fps)
        frames = _complete(path, _decoded(path, reader, height, width), header)
        yield VideoStream(frames, header.fps, width, height, header.duration)


def _checked_header(path: Path) -> VideoHeader:
    with _one_line_errors(path):
        header = read_header(path)
    if header is None:
        raise InputError(f"{path.name} holds no video stream: expected a video")
    if not 1 / MAX_PIXEL_ASPECT <= header.pixel_aspect <= MAX_PIXEL_ASPECT:
        raise InputError(
            f"{path.name} has pixels {header.pixel_aspect:g} times as wide as high, expected at "
            f"most {MAX_PIXEL_ASPECT:g} times: encode it with square pixels"
        )
    return header


def _complete(
    path: Path, frames: Iterator[np.ndarray], header: VideoHeader
) -> Iterator[np.ndarray]:
    """Yield the frames, then raise an InputError if the file announced more of them."""
    count, fps, duration = 0, header.fps, header.duration
    for frame in frames:
        count += 1
        yield frame
    if not count:
        raise InputError(f"{path.name} holds no frame that can be decoded: get the file again")
    with _one_line_errors(path):
        is_short = duration is not None and is_part_missing(path, count, fps, duration)
    if is_short:
        raise InputError(
            f"{path.name} is truncated or damaged: {count / fps:.3g} s of {duration:.3g} s can be "
            "decoded, get it again"
        )


def _decoded(path: Path, reader: Iterator[bytes], height: int, width: int) -> Iterator[np.ndarray]:
    with _one_line_errors(path):
        for data in reader:
            yield np.frombuffer(data, np.uint8).reshape(height, width, 3)


@contextmanager
def _one_line_errors(path: Path) -> Iterator[None]:
    """Reduce the library's errors, which hold ffmpeg's whole log, to the last line: the reason."""
    try:
        yield
    except HummingbirdError:
        raise
    # Unreadable files also break its parser of ffmpeg's log (IndexError, AttributeError).
    except (OSError, RuntimeError, IndexError, AttributeError, ValueError) as error:
        if isinstance(error, OSError) and (advice := machine_advice(error)):
            raise HummingbirdError(f"cannot read {path.name}: {advice}") from error
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[-1].replace(str(path.absolute()), path.name)[:200] if lines else "no reason"
        raise InputError(f"{path.name} cannot be decoded as a video: {reason}") from error


def _check_file(path: Path) -> None:
    if kind_of(path) != "file":
        raise InputError(f"{path.name} is not there: expected a video file, check {path}")
    if not path.stat().st_size:
        raise InputError(f"{path.name} is empty: expected a video file, get it again")
    if is_cut_off(path):
        raise InputError(
            f"{path.name} is truncated or no video: parts of it lie beyond its end, get it again"
        )


def _check_header(path: Path, width: int, height: int, fps: float) -> None:
    if not 0 < width * height <= MAX_PIXELS:
        raise InputError(
            f"{path.name} has frames of {width}x{height}, expected at most {MAX_PIXELS} pixels"
        )
    if not 0 < fps <= MAX_FPS:
        raise InputError(f"{path.name} has {fps:g} frames a second, expected 0 to {MAX_FPS:g}")
