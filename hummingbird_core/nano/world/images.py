"""Moving images: the larger part of the synthetic dataset, with rendering and captions.

A hummingbird, a cat, a rocket ... move over a plain background or a simple landscape. Images with
an orientation face their direction. The images are `assets/nano/pictures.png`, see NOTICE.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ...files import ASSETS
from .backgrounds import BACKGROUNDS, Background, plain_background, random_background
from .motion import NANO_FPS, NUM_FRAMES, Motion, random_motion, sentence

# The images of the file from left to right, with the direction that each faces.
IMAGES: dict[str, str | None] = {
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
PLAIN_SHARE = 0.3  # share of scenes with a plain background, whose captions name no place


@dataclass(frozen=True)
class ImageScene:
    """An image moving over a background.

    `picture`, `place` and `looks` are also keys of `attributes` and of recorded results.
    """

    picture: str
    place: str | None  # key of `BACKGROUNDS`
    background: Background
    motion: Motion

    @property
    def looks(self) -> str | None:
        """Return the facing direction: as in the file, but never backwards."""
        looks, direction = IMAGES[self.picture], self.motion.direction
        return direction if looks and direction in ("left", "right") else looks

    @property
    def is_mirrored(self) -> bool:
        """Return whether the image is flipped relative to the file."""
        return self.looks != IMAGES[self.picture]

    @property
    def attributes(self) -> dict[str, str]:
        """Return the attributes of the caption; `looks` is implied, not stated."""
        said = {"picture": self.picture, "direction": self.motion.direction}
        more = {"place": self.place, "looks": self.looks}
        return {**said, **{name: value for name, value in more.items() if value}}

    def render(self) -> Tensor:
        """Return float video `[3, T, FRAME_SIZE, FRAME_SIZE]` in 0..1."""
        moved = sprite(self.picture, self.motion, self.is_mirrored)
        return moved[:3] + (1 - moved[3:]) * self.background.draw()[:, None]

    def caption(self, rng: random.Random) -> str:
        """Return one of many wordings."""
        return sentence(
            rng, self.picture, self.motion, BACKGROUNDS[self.place] if self.place else ""
        )


def random_image(
    rng: random.Random, num_frames: int = NUM_FRAMES, fps: float = NANO_FPS
) -> ImageScene:
    """Return a random scene."""
    picture = rng.choice(list(IMAGES))
    place = None if rng.random() < PLAIN_SHARE else rng.choice(list(BACKGROUNDS))
    background = random_background(rng, place) if place else plain_background(rng)
    return ImageScene(picture, place, background, random_motion(rng, num_frames, fps))


def sprite(picture: str, motion: Motion, mirrored: bool) -> Tensor:
    """Return a moving sprite `[4, T, FRAME_SIZE, FRAME_SIZE]`: premultiplied RGB and alpha."""
    x, y = (offset / motion.radius for offset in motion.offsets())
    x, y = torch.broadcast_tensors(-x if mirrored else x, y)
    image = at_size(picture, round(2 * motion.radius))
    images = image.expand(motion.num_frames, -1, -1, -1)
    moved = F.grid_sample(images, torch.stack([x, y], dim=-1), align_corners=False)
    return moved.transpose(0, 1)  # [T, 4, H, W] -> [4, T, H, W]


@cache
def at_size(picture: str, pixels: int) -> Tensor:
    """Return an image `[4, pixels, pixels]`: premultiplied RGB and alpha."""
    return F.interpolate(
        _read_image(picture)[None], size=(pixels, pixels), mode="bilinear", antialias=True
    )[0]


@cache
def _read_image(name: str) -> Tensor:
    """Read an image `[4, H, W]` in 0..1: premultiplied RGB and alpha."""
    with Image.open(ASSETS / "nano" / "pictures.png") as image:
        sheet = np.asarray(image.convert("RGBA"), dtype=np.float32) / 255
    pictures = torch.from_numpy(sheet).permute(2, 0, 1).chunk(len(IMAGES), dim=2)
    picture = pictures[list(IMAGES).index(name)]
    return torch.cat([picture[:3] * picture[3:], picture[3:]])
