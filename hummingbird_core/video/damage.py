"""Detect truncated video files, which ffmpeg decodes without an error.

Formats without a stored length (`.ts`, `.mpg`, `.ogv`, a streamed `.wmv`) are valid videos when cut
anywhere: truncation cannot be detected in them.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from .ffmpeg import MAX_BOXES
from .header import open_container, video_stream

MIN_SHARE = 0.8  # of the announced length; many files are slightly shorter than announced
_ISO_SUFFIXES = (".mp4", ".m4v", ".mov")
_UNKNOWN_SIZE = (0, 0xFFFFFFFF)  # sizes in the header of a streamed AVI


def is_cut_off(path: Path) -> bool:
    """Return whether the size stored in an ISO file or AVI exceeds the file's size."""
    if path.suffix.lower() in _ISO_SUFFIXES:
        return _ends_in_a_box(path)
    return path.suffix.lower() == ".avi" and _ends_in_a_riff(path)


def is_part_missing(path: Path, frames: int, fps: float, duration: float) -> bool:
    """Return whether fewer frames could be decoded than the file announces.

    The announced duration is that of the longest stream, and audio may be longer than video: when
    frames seem to be missing, the file is read again without decoding.

    Args:
        path: the video file.
        frames: number of decoded frames.
        fps: frames per second.
        duration: announced by the file, seconds.

    Raises:
        OSError, ValueError or RuntimeError: FFmpeg cannot read the file again.
    """
    if frames / fps >= MIN_SHARE * duration:
        return False
    stored, seconds = _stored(path)
    return frames < MIN_SHARE * stored or seconds < MIN_SHARE * duration


def _stored(path: Path) -> tuple[int, float]:
    """Return the number of encoded frames and the end of the longest stream in seconds."""
    frames, end = 0, 0.0
    with open_container(path) as container:
        video = video_stream(container)
        for packet in container.demux():
            if (
                packet.pts is None or packet.time_base is None
            ):  # the empty packet at the end of a stream
                continue
            frames += packet.stream is video
            end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
    return frames, end


def _ends_in_a_box(path: Path) -> bool:
    """Return whether a top-level box exceeds the file (ISO/IEC 14496-12, 4.2)."""
    end = path.stat().st_size
    with path.open("rb") as file:
        for _ in range(MAX_BOXES):
            if (start := file.tell()) + 8 > end:
                break
            size = struct.unpack(">I4s", file.read(8))[0]
            if size == 1:  # a 64-bit size follows
                size = int.from_bytes(file.read(8), "big")
            if size == 0:  # extends to the end of the file
                return False
            if size < 8 or start + size > end:
                return True
            file.seek(start + size, os.SEEK_SET)
    return False


def _ends_in_a_riff(path: Path) -> bool:
    """Return whether the first RIFF chunk, all of an AVI up to 1 GiB, exceeds the file."""
    with path.open("rb") as file:
        name, size = struct.unpack("<4sI", file.read(8).ljust(8, b"\0"))
    return name == b"RIFF" and size not in _UNKNOWN_SIZE and size + 8 > path.stat().st_size
