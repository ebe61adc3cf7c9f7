"""Frames of training size from video and image files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor

from ...curation.source_video import SourceVideo
from ...errors import InputError
from ...settings import FULL_SIZE, SIZE_MULTIPLE
from ...video.images import rgb_pixels
from ...video.reader import MAX_PIXELS, open_video

STILL_SUFFIXES = frozenset([".png", ".jpg", ".jpeg", ".bmp"])  # GIF and WebP may move
STILL_FPS = 8.0  # for images, which have no frame rate: the models' usual one


@dataclass(frozen=True)
class FrameConfig:
    """Size and number of the frames read from a video.

    Args:
        height, width: pixels, multiples of 8; frames are scaled to cover this and cropped.
        max_frames: longer videos are cut to this number; 160 hold 26 frames at a stride of 6.
            `hummingbird curate` makes clips of a few seconds.
    """

    height: int = FULL_SIZE.height
    width: int = FULL_SIZE.width
    max_frames: int = 160

    def __post_init__(self) -> None:
        for name, size in (("height", self.height), ("width", self.width)):
            if size < SIZE_MULTIPLE or size % SIZE_MULTIPLE:
                raise InputError(
                    f"got clips of {name} {size}, expected a multiple of {SIZE_MULTIPLE}: "
                    f"try {max(1, round(size / SIZE_MULTIPLE)) * SIZE_MULTIPLE}"
                )
        if self.max_frames < 1:
            raise InputError(f"got max_frames {self.max_frames}, expected at least 1")


@dataclass(frozen=True)
class ClipFrames:
    """Pixels uint8 `[T, H, W, 3]` with their frame rate, and width and height before scaling."""

    pixels: np.ndarray
    fps: float
    size: tuple[int, int]


def read_frames(clip: SourceVideo, settings: FrameConfig) -> ClipFrames:
    """Read the first frames of a clip, scaled and cropped; one frame of an image.

    Raises:
        InputError: it cannot be decoded; the message begins with its name.
    """
    try:
        with clip.on_disk() as path:
            if PurePosixPath(clip.name).suffix.lower() in STILL_SUFFIXES:
                image = _read_image(path)
                size = image.shape[1], image.shape[0]
                return ClipFrames(fit(image, settings)[None], STILL_FPS, size)
            with open_video(path, max_frames=settings.max_frames) as video:
                pixels = np.stack([fit(frame, settings) for frame in video.frames])
                return ClipFrames(pixels, video.fps, (video.width, video.height))
    except InputError as error:
        reason = str(error).removeprefix(f"{clip.file_name} ")
        raise InputError(f"{clip.name} {reason}") from error
    except OSError as error:
        raise InputError(f"{clip.name} cannot be read: {error.strerror or error}") from error


def fit(frame: np.ndarray, settings: FrameConfig) -> np.ndarray:
    """Crop the largest centred part of a frame with the target aspect ratio, and scale it.

    Args:
        frame: uint8 `[H, W, 3]` of any size.
        settings: target height and width.

    Returns:
        uint8 `[settings.height, settings.width, 3]`.
    """
    from PIL import Image

    height, width = frame.shape[:2]
    scale = min(height / settings.height, width / settings.width)
    crop_height, crop_width = scale * settings.height, scale * settings.width
    left, top = (width - crop_width) / 2, (height - crop_height) / 2
    resized = Image.fromarray(frame).resize(
        (settings.width, settings.height),
        Image.Resampling.BICUBIC,
        box=(left, top, left + crop_width, top + crop_height),
    )
    return np.asarray(resized)


def to_video(pixels: np.ndarray) -> Tensor:
    """Convert frames uint8 `[T, H, W, 3]` to float `[3, T, H, W]` in -1..1."""
    return torch.tensor(pixels).permute(3, 0, 1, 2).float() / 127.5 - 1


def _read_image(path: Path) -> np.ndarray:
    """Read an image upright, with white for transparent parts."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise InputError(f"has {image.width}x{image.height} pixels: make it smaller")
            return rgb_pixels(ImageOps.exif_transpose(image))
    except InputError:
        raise
    # Pillow raises SyntaxError for bad PNGs, and DecompressionBombError for far too large ones.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError("cannot be decoded as an image: get it again") from error
