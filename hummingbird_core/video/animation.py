"""Animated GIF and WebP, in which a picture has a duration of its own instead of a rate."""

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
DEFAULT_FRAME_MS = 100.0  # milliseconds; browsers show 0 so
MAX_FRAME_MS = 60_000.0  # likewise, of one picture: a few bytes can say eleven minutes


@dataclass(frozen=True)
class Animation:
    """An open animation.

    Attributes:
        frames: uint8 `[H,W,3]` each, RGB, at a constant rate; can be gone through once.
        count: how many `frames` there are.
        fps: of `frames`.
    """

    frames: Iterator[np.ndarray]
    count: int
    fps: float
    width: int
    height: int


@contextmanager
def image_errors(path: Path) -> Iterator[None]:
    """Whatever Pillow raises for a damaged or hostile file as an InputError of one line."""
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

    A picture comes as often as it is long, up to a minute.

    Args:
        fps: the rate; None takes that of the shortest picture.

    Raises:
        InputError: the file cannot be read; also while reading.
    """
    from PIL import Image

    with image_errors(path):
        opened = Image.open(path)
    with opened as image:
        with image_errors(path):
            durations = [min(_duration(picture), MAX_FRAME_MS) for picture in _pictures(image)]
        fps = fps or 1000 / min(durations)
        repeats = [max(1, round(duration * fps / 1000)) for duration in durations]
        frames = _repeated(path, image, repeats)
        yield Animation(frames, sum(repeats), fps, image.width, image.height)


def write_animation(path: Path, frames: np.ndarray, fps: float, comment: str) -> None:
    """Write `frames` (uint8 [T,H,W,3]) with `comment` inside; raises what Pillow raises."""
    from PIL import Image

    images = [Image.fromarray(frame) for frame in frames]
    # GIF counts hundredths of a second: rounding the times, not the durations, keeps the pace.
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


def _pictures(image: Image) -> Iterator[Image]:
    from PIL import ImageSequence

    for picture in ImageSequence.Iterator(image):
        picture.load()  # only then is the duration known in a WebP
        yield picture


def _duration(picture: Image) -> float:
    return float(picture.info.get("duration") or DEFAULT_FRAME_MS)


def _repeated(path: Path, image: Image, repeats: list[int]) -> Iterator[np.ndarray]:
    with image_errors(path):
        for picture, times in zip(_pictures(image), repeats, strict=True):
            yield from itertools.repeat(np.asarray(picture.convert("RGB")), times)
