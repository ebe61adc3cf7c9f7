"""Read a video of any length frame by frame, in the memory of one frame.

    with open_video("clip.mp4") as video:
        for frame in video.frames: ...        # uint8 [H, W, 3]

`video.read_video` reads all frames of a short clip at once. Rotated videos are turned upright. A
video with a variable frame rate yields the stored frames and the average rate.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from ..errors import HummingbirdError, InputError, machine_advice
from .animation import open_animation
from .damage import is_cut_off, is_part_missing
from .decoder import decode
from .files import read_metadata, read_video, recorded_fps

MAX_PIXELS = 8192 * 8192  # of a frame; a larger claim would exhaust the memory
MAX_FPS = 1000.0
# Other formats, such as a playlist named like a video, could make ffmpeg open further files.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,flv,asf,mpegvideo,ogg,gif,webp_pipe"
)
# Used with absolute paths, so that no name can look like an option or a protocol. Only files are
# opened, because a playlist disguised as a video may name addresses.
_SAFE = {"protocol_whitelist": "file", "format_whitelist": _CONTAINERS}
# By default ffmpeg repeats frames to make a variable rate constant, which looks frozen.
_EVERY_FRAME_ONCE = ["-fps_mode", "passthrough"]
_NO_VIDEO = "does not contain any stream"  # in ffmpeg's error for a file with audio only


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
    if path.is_dir():
        opened = _open_folder(path)
    elif path.suffix.lower() in (".gif", ".webp"):
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
    video = read_video(path)
    count, height, width = video.frames.shape[:3]
    yield VideoStream(iter(video.frames), video.fps, width, height, count / video.fps)


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
    safe = [part for name, value in _SAFE.items() for part in (f"-{name}", value)]
    reader = decode(path, safe, _EVERY_FRAME_ONCE)
    with closing(reader):
        with _one_line_errors(path):
            info = next(reader)
        width, height = info["size"]
        _check_header(path, width, height, info["fps"])
        fps, duration = float(info["fps"]), info["duration"] or None
        frames = _decoded(path, reader, height, width)
        yield VideoStream(_complete(path, frames, fps, duration), fps, width, height, duration)


def _complete(
    path: Path, frames: Iterator[np.ndarray], fps: float, duration: float | None
) -> Iterator[np.ndarray]:
    """Yield the frames, then raise an InputError if the file announced more of them."""
    count = 0
    for frame in frames:
        count += 1
        yield frame
    if not count:
        raise InputError(f"{path.name} holds no frame that can be decoded: get the file again")
    with _one_line_errors(path):
        is_short = duration is not None and is_part_missing(path, count, fps, duration, _SAFE)
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
        if _NO_VIDEO in str(error):
            raise InputError(f"{path.name} holds no video stream: expected a video") from error
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[-1].replace(str(path.absolute()), path.name)[:200] if lines else "no reason"
        raise InputError(f"{path.name} cannot be decoded as a video: {reason}") from error


def _check_file(path: Path) -> None:
    if not path.is_file():
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
