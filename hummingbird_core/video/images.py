"""Pixels of image files of any mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_16_BIT = 65535
_ALPHA_MODES = ("LA", "PA", "La", "RGBA", "RGBa")


def rgb_pixels(image: Image) -> np.ndarray:
    """Return the pixels of an image in 8 bits, with white for transparent parts.

    Args:
        image: open, of any mode of Pillow.

    Returns:
        uint8 `[H, W, 3]`.

    Raises:
        InputError: its values have no known range.
    """
    from PIL import Image as Images

    if image.mode[0] in "IF":
        gray = _eight_bits(image)
        return np.stack([gray] * 3, axis=-1)
    if image.mode not in _ALPHA_MODES and "transparency" not in image.info:
        return np.asarray(image.convert("RGB"))
    opaque = Images.new("RGBA", image.size, "white")
    opaque.alpha_composite(image.convert("RGBA"))
    return np.asarray(opaque.convert("RGB"))


def _eight_bits(image: Image) -> np.ndarray:
    """Return the gray values of 16 bits as 8; Pillow's own conversion clips them at 255."""
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > MAX_16_BIT:
        raise InputError("has gray values of 32 bits: convert it to 8 or 16 bits")
    return (values >> 8).astype(np.uint8)
