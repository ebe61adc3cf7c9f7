"""The last frames of a video, or an image, to start another video with."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import numpy as np

from ..errors import InputError
from .animation import image_errors
from .images import rgb_pixels
from .reader import open_video

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


def read_last_frames(path: Path, count: int) -> np.ndarray:
    """Read an image, or the last `count` frames of a video in the memory of these.

    Returns:
        uint8 `[count, H, W, 3]`.

    Raises:
        InputError: the file cannot be read, or holds fewer frames.
    """
    if count < 1:
        raise InputError(f"got {count} frames to read of {path.name}, expected at least 1")
    if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES:
        frames = [_read_image(path)]
    else:
        with open_video(path) as video:
            frames = list(deque(video.frames, maxlen=count))
    if len(frames) < count:
        raise InputError(f"{path.name} has {len(frames)} frames, expected {count}: ask for fewer")
    return np.stack(frames)


def _read_image(path: Path) -> np.ndarray:
    from PIL import Image, ImageOps

    with image_errors(path), Image.open(path) as image:
        return rgb_pixels(ImageOps.exif_transpose(image))  # upright, as cameras mean it
