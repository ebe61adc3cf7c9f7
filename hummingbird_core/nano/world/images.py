"""Moving images: the larger part of the synthetic dataset, with rendering and captions.

A hummingbird, a cat, a rocket ... move over a plain background or a simple landscape. Images with
an orientation face their direction. The images are `assets/nano/pictures.png`, see NOTICE.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .backgrounds import BACKGROUNDS, Background, plain_background, random_background
from .looks import PICTURES, picture_at_size
from .motion import NANO_FPS, NUM_FRAMES, Motion, random_motion, sentence

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
        looks, direction = PICTURES[self.picture], self.motion.direction
        return direction if looks and direction in ("left", "right") else looks

    @property
    def is_mirrored(self) -> bool:
        """Return whether the image is flipped relative to the file."""
        return self.looks != PICTURES[self.picture]

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
    picture = rng.choice(list(PICTURES))
    place = None if rng.random() < PLAIN_SHARE else rng.choice(list(BACKGROUNDS))
    background = random_background(rng, place) if place else plain_background(rng)
    return ImageScene(picture, place, background, random_motion(rng, num_frames, fps))


def sprite(picture: str, motion: Motion, mirrored: bool) -> Tensor:
    """Return a moving sprite `[4, T, FRAME_SIZE, FRAME_SIZE]`: premultiplied RGB and alpha."""
    x, y = (offset / motion.radius for offset in motion.offsets())
    x, y = torch.broadcast_tensors(-x if mirrored else x, y)
    image = picture_at_size(picture, round(2 * motion.radius))
    images = image.expand(motion.num_frames, -1, -1, -1)
    moved = F.grid_sample(images, torch.stack([x, y], dim=-1), align_corners=False)
    return moved.transpose(0, 1)  # [T, 4, H, W] -> [4, T, H, W]
