"""Images that a video starts with, in any form that users have them: to frames of its size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from ..terminal import get_logger
from ..video.images import rgb_pixels

if TYPE_CHECKING:
    from PIL.Image import Image

    StartImage = Image | Sequence[Image] | np.ndarray | Tensor

logger = get_logger(__name__)

FORMS = "an image of Pillow or a list of them, an array [H, W, 3], or a tensor [3, H, W] in 0..1"


def start_video(image: StartImage, num_frames: int, height: int, width: int) -> Tensor:
    """Return the first frames of a video, `[1, 3, K, height, width]` in -1..1.

    Images of another size are scaled to cover the frame, and cropped around their middle.

    Args:
        image: one frame or K of them. Arrays and tensors are as in `VideoOutput.frames`: uint8 or
            floats in 0..1, `[H, W, 3]` or `[K, H, W, 3]`; tensors `[3, H, W]` or `[K, 3, H, W]`.
        num_frames: of the video.
        height, width: of the video, in pixels.

    Raises:
        InputError: the image is of another kind, or leaves no frame to make.
    """
    frames = _frames(image)  # [K, 3, H, W]
    if not 1 <= len(frames) < num_frames:
        raise InputError(
            f"got a start image of {len(frames)} frames for a video of {num_frames}, expected "
            "fewer frames than the video has, and at least one"
        )
    return 2 * _fitted(frames, height, width).transpose(0, 1)[None] - 1


def _frames(image: Any) -> Tensor:
    """Return frames `[K, 3, H, W]`, float32 in 0..1."""
    if isinstance(image, Tensor):
        return _in_range(image[None] if image.ndim == 3 else image)
    if isinstance(image, np.ndarray):
        frames = torch.from_numpy(np.ascontiguousarray(image))
        frames = frames / 255 if frames.dtype == torch.uint8 else frames
        frames = frames[None] if frames.ndim == 3 else frames
        return _in_range(frames.movedim(-1, 1) if frames.ndim == 4 else frames)
    return torch.from_numpy(_pixels(image)).movedim(-1, 1).float() / 255


def _in_range(frames: Tensor) -> Tensor:
    """Return `[K, 3, H, W]` as float32 on the CPU, after a check."""
    if frames.ndim != 4 or frames.shape[1] != 3 or not frames.is_floating_point():
        raise InputError(
            f"got a start image of shape {list(frames.shape)} and type {frames.dtype}, expected "
            f"{FORMS}"
        )
    frames = frames.detach().to("cpu", torch.float32)
    if not bool(((frames >= 0) & (frames <= 1)).all()):  # refuses NaN, too
        raise InputError(
            f"got a start image with values from {float(frames.min()):.3g} to "
            f"{float(frames.max()):.3g}, expected 0 to 1: divide 8-bit values by 255"
        )
    return frames


def _pixels(image: Any) -> np.ndarray:
    """Return images of Pillow as uint8 `[K, H, W, 3]`."""
    from PIL.Image import Image

    images = list(image) if isinstance(image, list | tuple) else [image]
    if not images:
        raise InputError(f"got an empty list for the start image, expected {FORMS}")
    for one in images:
        if not isinstance(one, Image):
            raise InputError(f"got a start image of type {type(one).__name__}, expected {FORMS}")
    if len({one.size for one in images}) != 1:
        raise InputError(
            f"got {len(images)} start images of different sizes, expected the frames of one video: "
            "give images of one size"
        )
    return np.stack([rgb_pixels(one) for one in images])


def _fitted(frames: Tensor, height: int, width: int) -> Tensor:
    """Scale frames `[K, 3, H, W]` to cover `height` x `width`, and crop them around the middle."""
    rows, columns = frames.shape[2:]
    if (rows, columns) == (height, width):
        return frames
    logger.warning(
        "the start image of %dx%d is scaled to cover %dx%d, and cropped around its middle",
        *(columns, rows, width, height),
    )
    scale = max(height / rows, width / columns)
    size = max(height, round(rows * scale)), max(width, round(columns * scale))
    scaled = F.interpolate(frames, size, mode="bicubic", antialias=True).clamp(0, 1)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return scaled[:, :, top : top + height, left : left + width]
