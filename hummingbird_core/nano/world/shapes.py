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

from .motion import (
    NANO_FPS,
    NUM_FRAMES,
    Motion,
    random_gray,
    random_motion,
    sentence,
)

COLORS = {
    "red": (0.90, 0.12, 0.12),
    "yellow": (0.95, 0.88, 0.10),
    "green": (0.10, 0.78, 0.16),
    "cyan": (0.10, 0.85, 0.90),
    "blue": (0.14, 0.22, 0.95),
    "magenta": (0.90, 0.14, 0.85),
}
SHAPES = ("circle", "square", "triangle")


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
        distance = _signed_distance(self.shape, *self.motion.offsets(), self.motion.radius)
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


def _signed_distance(shape: str, x: Tensor, y: Tensor, radius: float) -> Tensor:
    """Return the distance in pixels to a shape at 0: negative inside, exact at flat edges."""
    if shape == "circle":
        return (x * x + y * y).sqrt() - radius
    if shape == "square":
        return torch.maximum(x.abs(), y.abs()) - 0.9 * radius
    # An upright triangle with its bounding box centred: apex on top, base below.
    slope = 0.894, 0.447  # outward normal of the right side: a triangle as wide as it is high
    side = slope[0] * x.abs() - slope[1] * (y + radius)
    return torch.maximum(side, y - radius)
