"""Animated GIF and WebP, formats with a duration per image instead of a frame rate."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import HummingbirdError, InputError, first_line

if TYPE_CHECKING:
    from PIL.Image import Image

EXIF_IMAGE_DESCRIPTION = 0x010E
DEFAULT_FRAME_MS = 100.0  # browsers show frames of 0 ms for 100 ms
MAX_FRAME_MS = 60_000.0  # a file of a few bytes can claim eleven minutes per image


@dataclass(frozen=True)
class Animation:
    """An open animation.

    Attributes:
        frames: uint8 `[H, W, 3]` each, RGB, at a constant rate; an iterator for one pass.
        count: number of `frames`.
        fps: rate of `frames`, frames per second.
        width: pixels.
        height: pixels.
    """

    frames: Iterator[np.ndarray]
    count: int
    fps: float
    width: int
    height: int


@contextmanager
def image_errors(path: Path) -> Iterator[None]:
    """Turn every error that Pillow raises for a damaged file into a one-line InputError."""
    from PIL import Image

    damage = (OSError, RuntimeError, SyntaxError, ValueError, IndexError, EOFError, struct.error)
    try:
        yield
    except HummingbirdError:
        raise
    except (*damage, Image.DecompressionBombError) as error:
        raise InputError(f"{path.name} cannot be read as a picture: {first_line(error)}") from error


@contextmanager
def open_animation(path: Path, fps: float | None = None) -> Iterator[Animation]:
    """Open a GIF or WebP for one pass over its frames, in the memory of one.

    Each image is repeated according to its duration, up to a minute.

    Args:
        path: the GIF or WebP file.
        fps: frame rate; None takes that of the shortest image.

    Raises:
        InputError: the file cannot be read; also while reading.
    """
    from PIL import Image

    with image_errors(path):
        opened = Image.open(path)
    with opened as image:
        with image_errors(path):
            durations = [min(_duration(frame), MAX_FRAME_MS) for frame in _images(image)]
        fps = fps or 1000 / min(durations)
        repeats = [max(1, round(duration * fps / 1000)) for duration in durations]
        frames = _repeated(path, image, repeats)
        yield Animation(frames, sum(repeats), fps, image.width, image.height)


def write_animation(path: Path, frames: np.ndarray, fps: float, comment: str) -> None:
    """Write `frames` (uint8 [T, H, W, 3]) with a comment; Pillow's errors pass through."""
    from PIL import Image

    images = [Image.fromarray(frame) for frame in frames]
    # GIF counts hundredths of a second: rounding times instead of durations keeps the mean rate.
    times = [round(100 * i / fps) * 10 for i in range(len(frames) + 1)]
    durations = [after - before for before, after in itertools.pairwise(times)]
    exif = Image.Exif()
    exif[EXIF_IMAGE_DESCRIPTION] = comment
    settings: dict[str, Any] = (
        {"comment": comment.encode()}
        if path.suffix.lower() == ".gif"
        else {"exif": exif, "quality": 90}
    )
    images[0].save(
        path, save_all=True, append_images=images[1:], duration=durations, loop=0, **settings
    )


def _images(image: Image) -> Iterator[Image]:
    from PIL import ImageSequence

    for frame in ImageSequence.Iterator(image):
        frame.load()  # a WebP knows the duration only once loaded
        yield frame


def _duration(frame: Image) -> float:
    return float(frame.info.get("duration") or DEFAULT_FRAME_MS)


def _repeated(path: Path, image: Image, repeats: list[int]) -> Iterator[np.ndarray]:
    with image_errors(path):
        for frame, times in zip(_images(image), repeats, strict=True):
            yield from itertools.repeat(np.asarray(frame.convert("RGB")), times)
