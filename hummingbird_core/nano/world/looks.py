"""Looks of the subjects of the synthetic dataset: colored shapes and pictures.

Shapes are drawn from signed distances, so edges are anti-aliased and positions continuous. The
pictures are `assets/nano/pictures.png`, see NOTICE. Related datasets: captioned bouncing MNIST
(Sync-DRAW, arXiv 1611.10314), SBMG (TGANs-C, arXiv 1804.08264).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ...files import ASSETS
from .paths import FRAME_SIZE

COLORS = {
    "red": (0.90, 0.12, 0.12),
    "yellow": (0.95, 0.88, 0.10),
    "green": (0.10, 0.78, 0.16),
    "cyan": (0.10, 0.85, 0.90),
    "blue": (0.14, 0.22, 0.95),
    "magenta": (0.90, 0.14, 0.85),
}
SHAPES = ("circle", "square", "triangle")
# The pictures of the file from left to right, with the direction that each faces.
PICTURES: dict[str, str | None] = {
    "hummingbird": "right",
    "cat": None,
    "fox": None,
    "panda": None,
    "frog": None,
    "fish": "left",
    "rocket": "right",
    "car": "left",
    "mushroom": None,
    "octopus": None,
}
SUBJECTS = (*SHAPES, *PICTURES)


@dataclass(frozen=True)
class Look:
    """The appearance of a subject.

    Attributes:
        name: one of `SUBJECTS`.
        color: of a shape, one of `COLORS`; None for a picture.
        mirrored: whether a picture is flipped relative to the file.
    """

    name: str
    color: str | None = None
    mirrored: bool = False

    def draw(self, centers: Tensor, angles: Tensor, radii: Tensor) -> Tensor:
        """Return `[4, T, FRAME_SIZE, FRAME_SIZE]`: RGB premultiplied by alpha, and alpha.

        Args:
            centers: x and y in pixels, `[2, T]`.
            angles: clockwise rotations in radians, `[T]`.
            radii: half the side of the upright subject's bounding square, in pixels, `[T]`.
        """
        pixels = torch.arange(FRAME_SIZE, dtype=torch.float32) + 0.5
        x = pixels[None, None, :] - centers[0, :, None, None]  # [T, 1, W]
        y = pixels[None, :, None] - centers[1, :, None, None]  # [T, H, 1]
        cos, sin = (f(angles)[:, None, None] for f in (torch.cos, torch.sin))
        # Back into the upright subject's coordinates, [T, H, W] each.
        x, y = cos * x + sin * y, cos * y - sin * x
        draw = self._draw_shape if self.color else self._draw_picture
        return draw(x, y, radii[:, None, None])

    def _draw_shape(self, x: Tensor, y: Tensor, radius: Tensor) -> Tensor:
        cover = (0.5 - signed_distance(self.name, x, y, radius)).clamp(0, 1)  # [T, H, W]
        color = torch.tensor([*COLORS[self.color or ""], 1.0])
        return color[:, None, None, None] * cover

    def _draw_picture(self, x: Tensor, y: Tensor, radius: Tensor) -> Tensor:
        x, y = (-x if self.mirrored else x) / radius, y / radius
        image = picture_at_size(self.name, round(2 * float(radius.max())))
        images = image.expand(len(x), -1, -1, -1)  # [T, 4, n, n]
        drawn = F.grid_sample(images, torch.stack([x, y], dim=-1), align_corners=False)
        return drawn.transpose(0, 1)  # [T, 4, H, W] -> [4, T, H, W]


def look_in_motion(name: str, color: str | None, motion: str) -> Look:
    """Return a look that faces its direction: as in the file, but never backwards."""
    faces = PICTURES.get(name)
    is_backwards = faces is not None and motion in ("left", "right") and motion != faces
    return Look(name, color, mirrored=is_backwards)


def can_spin(name: str) -> bool:
    """Return whether a subject has a front or a tip, so that one sees from afar how far it turned.

    In latents of 8 x 8, a face that is upside down is told from an upright one by details alone.
    """
    return name == "triangle" or PICTURES.get(name) is not None


@cache
def picture_at_size(name: str, pixels: int) -> Tensor:
    """Return a picture `[4, pixels, pixels]`: RGB premultiplied by alpha, and alpha."""
    picture = _read_pictures()[name][None]
    size = (pixels, pixels)
    return F.interpolate(picture, size=size, mode="bilinear", antialias=True)[0]


@cache
def _read_pictures() -> dict[str, Tensor]:
    """Read all pictures, `[4, H, W]` in 0..1: RGB premultiplied by alpha, and alpha."""
    with Image.open(ASSETS / "nano" / "pictures.png") as image:
        sheet = np.asarray(image.convert("RGBA"), dtype=np.float32) / 255
    parts = torch.from_numpy(sheet).permute(2, 0, 1).chunk(len(PICTURES), dim=2)
    premultiplied = (torch.cat([part[:3] * part[3:], part[3:]]) for part in parts)
    return dict(zip(PICTURES, premultiplied, strict=True))


def signed_distance(shape: str, x: Tensor, y: Tensor, radius: Tensor | float) -> Tensor:
    """Return the distance in pixels to a shape at 0: negative inside, exact at flat edges."""
    if shape == "circle":
        return (x * x + y * y).sqrt() - radius
    if shape == "square":
        return torch.maximum(x.abs(), y.abs()) - 0.9 * radius
    # An upright triangle with its bounding box centered: apex on top, base below.
    slope = 0.894, 0.447  # outward normal of the right side: a triangle as wide as it is high
    side = slope[0] * x.abs() - slope[1] * (y + radius)
    return torch.maximum(side, y - radius)
