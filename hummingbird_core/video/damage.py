"""Whether a part of a video file is missing, which ffmpeg passes over without a word.

Kinds of files that do not say how long they are (`.ts`, `.mpg`, `.ogv`, a streamed `.wmv`) can be
cut anywhere and are whole videos again: of these, nothing is known to be missing.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from pathlib import Path

MIN_SHARE = 0.8  # of what a file announces; many are a little shorter than they say
_ISO_SUFFIXES = (".mp4", ".m4v", ".mov")
_UNKNOWN_SIZE = (0, 0xFFFFFFFF)  # of an AVI that was streamed


def is_cut_off(path: Path) -> bool:
    """Whether what the file says of its own size lies beyond its end (ISO files and AVI)."""
    if path.suffix.lower() in _ISO_SUFFIXES:
        return _ends_in_a_box(path)
    return path.suffix.lower() == ".avi" and _ends_in_a_riff(path)


def is_part_missing(
    path: Path, frames: int, fps: float, duration: float, options: Mapping[str, str]
) -> bool:
    """Whether fewer frames could be decoded than the file announces.

    Its duration is that of the longest stream, so where pictures seem to be missing all is read
    once more without decoding: sound may go on longer than the pictures.

    Args:
        frames: how many were decoded.
        duration: in seconds, as the file says.
        options: of FFmpeg's demuxers, for opening it.

    Raises:
        OSError, ValueError or RuntimeError: FFmpeg's, where the file cannot be read once more.
    """
    if frames / fps >= MIN_SHARE * duration:
        return False
    stored, seconds = _stored(path, options)
    return frames < MIN_SHARE * stored or seconds < MIN_SHARE * duration


def _stored(path: Path, options: Mapping[str, str]) -> tuple[int, float]:
    """The encoded frames in the file, and the seconds until the end of its longest stream."""
    import av

    frames, end = 0, 0.0
    with av.open(path, options=dict(options)) as container:
        pictures = container.streams.video[0]
        for packet in container.demux():
            if packet.pts is None or packet.time_base is None:  # a stream ends with an empty one
                continue
            frames += packet.stream is pictures
            end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
    return frames, end


def _ends_in_a_box(path: Path) -> bool:
    """Whether a top-level box goes on after the end of the file (ISO/IEC 14496-12, 4.2)."""
    end = path.stat().st_size
    with path.open("rb") as file:
        while file.tell() + 8 <= end:
            start = file.tell()
            size = struct.unpack(">I4s", file.read(8))[0]
            if size == 1:  # a 64-bit size follows
                size = int.from_bytes(file.read(8), "big")
            if size == 0:  # goes on to the end
                return False
            if size < 8 or start + size > end:
                return True
            file.seek(start + size, os.SEEK_SET)
    return False


def _ends_in_a_riff(path: Path) -> bool:
    """Whether the first RIFF chunk, in which all of an AVI up to 1 GiB is, is not all there."""
    with path.open("rb") as file:
        name, size = struct.unpack("<4sI", file.read(8).ljust(8, b"\0"))
    return name == b"RIFF" and size not in _UNKNOWN_SIZE and size + 8 > path.stat().st_size
