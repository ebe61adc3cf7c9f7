"""Moving shapes: a part of the synthetic dataset, with rendering and captions.

A colored shape moves in one of four directions over a plain background. Videos are rendered from
signed distances, so edges are anti-aliased and positions continuous. Related datasets:
captioned bouncing MNIST (Sync-DRAW, arXiv 1611.10314), SBMG (TGANs-C, arXiv 1804.08264).
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor

from .looks import COLORS, SHAPES, signed_distance
from .motion import (
    NANO_FPS,
    NUM_FRAMES,
    Motion,
    random_gray,
    random_motion,
    sentence,
)


@dataclass(frozen=True)
class ShapeScene:
    """A colored shape on a plain background."""

    colour: str
    shape: str
    background: tuple[float, float, float]
    motion: Motion

    @property
    def attributes(self) -> dict[str, str]:
        """Return the attributes that the caption states."""
        direction = self.motion.direction
        return {"colour": self.colour, "shape": self.shape, "direction": direction}

    def render(self) -> Tensor:
        """Return float video `[3, T, FRAME_SIZE, FRAME_SIZE]` in 0..1."""
        distance = signed_distance(self.shape, *self.motion.offsets(), self.motion.radius)
        cover = (0.5 - distance).clamp(0, 1)  # [T, H, W], covered share of each pixel
        colour = torch.tensor(COLORS[self.colour])[:, None, None, None]
        background = torch.tensor(self.background)[:, None, None, None]
        return background + cover * (colour - background)

    def caption(self, rng: random.Random) -> str:
        """Return one of many wordings, some of which mention the background."""
        tone = "dark" if self.background[1] < 0.5 else "light"
        place = f"on a {tone} background" if rng.random() < 0.2 else ""
        return sentence(rng, f"{self.colour} {self.shape}", self.motion, place)


def random_shape(
    rng: random.Random, num_frames: int = NUM_FRAMES, fps: float = NANO_FPS
) -> ShapeScene:
    """Return a random scene."""
    motion = random_motion(rng, num_frames, fps)
    return ShapeScene(rng.choice(list(COLORS)), rng.choice(SHAPES), random_gray(rng), motion)
