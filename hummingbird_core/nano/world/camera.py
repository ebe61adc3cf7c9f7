"""The camera of the synthetic dataset: it rests, pans, or zooms.

It follows the subjects: a pan moves the background behind them, a zoom changes the size of both.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import torch
from torch import Tensor

from .paths import DIRECTIONS, Clip

ZOOMS = {"in": 1, "out": -1}
CAMERA_MOVES = (*(f"pan {way}" for way in DIRECTIONS), *(f"zoom {way}" for way in ZOOMS))
PAN_SPEED = (8.0, 12.0)  # pixels a second
LONGEST_VERTICAL_PAN = 14.0  # pixels: the horizon stays in sight
ZOOM = (1.3, 1.45)  # size at the end of a zoom against the start, or its inverse


@dataclass(frozen=True)
class Camera:
    """A move of the camera.

    Attributes:
        move: one of `CAMERA_MOVES`; None if it rests.
        speed: pixels a second of a pan.
        zoom: size at the end of a zoom in against the start, over the duration of the clip.
        duration: seconds of the clip.
    """

    move: str | None = None
    speed: float = 0.0
    zoom: float = 1.0
    duration: float = 1.0

    def shifts(self, seconds: Tensor) -> Tensor:
        """Return how far the background has moved at times `[T]`: x and y in pixels, `[2, T]`.

        A camera that pans to the left moves everything to the right.
        """
        kind, _, way = (self.move or "").partition(" ")
        x, y = DIRECTIONS[way] if kind == "pan" else (0, 0)
        way_back = -torch.tensor([[x], [y]], dtype=seconds.dtype)
        return way_back * self.speed * (seconds - self.duration / 2)

    def scales(self, seconds: Tensor) -> Tensor:
        """Return the sizes at times `[T]` against that in the middle of the clip: `[T]`."""
        kind, _, way = (self.move or "").partition(" ")
        growth = ZOOMS[way] * math.log(self.zoom) if kind == "zoom" else 0.0
        return (growth * (seconds / self.duration - 0.5)).exp()

    @property
    def largest_scale(self) -> float:
        """Return the largest size in the clip against that in the middle."""
        return math.sqrt(self.zoom) if (self.move or "").startswith("zoom") else 1.0


def random_camera(rng: random.Random, move: str | None, clip: Clip) -> Camera:
    """Return a move of random speed that shows the horizon throughout the clip."""
    speed = rng.uniform(*PAN_SPEED)
    if move in ("pan up", "pan down"):
        speed = min(speed, LONGEST_VERTICAL_PAN / clip.duration)
    return Camera(move, speed, rng.uniform(*ZOOM), clip.duration)
