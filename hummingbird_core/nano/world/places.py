"""Backgrounds of the synthetic dataset: a plain tone, or a sky over hills or waves."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import torch
from torch import Tensor

from .camera import Camera
from .paths import FRAME_SIZE

Color = tuple[float, float, float]

PLACES = {
    "meadow": "over a meadow",
    "sea": "over the sea",
    "desert": "in the desert",
    "night": "at night",
}
# Sky at the top, sky at the horizon, land.
PLACE_COLORS: dict[str, tuple[Color, Color, Color]] = {
    "meadow": ((0.42, 0.70, 0.96), (0.80, 0.92, 0.99), (0.36, 0.62, 0.22)),
    "sea": ((0.66, 0.84, 0.95), (0.90, 0.95, 0.96), (0.08, 0.36, 0.58)),
    "desert": ((0.97, 0.74, 0.48), (0.99, 0.90, 0.70), (0.84, 0.62, 0.34)),
    "night": ((0.03, 0.04, 0.16), (0.16, 0.14, 0.34), (0.05, 0.09, 0.08)),
}
LIGHT = 0.03  # largest change of the colors of a place
HORIZON = (0.58, 0.70)  # share of the height, from the top
HILL_HEIGHT = (5.0, 7.0)  # pixels above and below the horizon: high enough that one sees pans
HILL_LENGTH = (34.0, 50.0)  # pixels from hill to hill
TONES = {"dark": (0.04, 0.30), "light": (0.72, 0.94)}  # gray values of plain backgrounds
TINT = 0.04  # largest difference of a channel of a plain background from gray


@dataclass(frozen=True)
class Background:
    """A sky that brightens towards the horizon, and land with hills below it.

    Attributes:
        top, bottom: colors of the sky, at the top of the frame and at the horizon.
        land: color of the land.
        horizon: mean height in pixels from the top; `FRAME_SIZE` or more: there is no land.
        hill_height, hill_length, hill_phase: of the hills; pixels and radians.
    """

    top: Color
    bottom: Color
    land: Color
    horizon: float
    hill_height: float = 0.0
    hill_length: float = 1.0
    hill_phase: float = 0.0

    def draw(self, camera: Camera, seconds: Tensor) -> Tensor:
        """Return float video `[3, T, H, W]` in 0..1 at times `[T]`."""
        horizon = self.skyline(camera, seconds)[:, None]  # [T, 1, W]
        rows = torch.arange(FRAME_SIZE, dtype=torch.float32)[None, :, None]  # [1, H, 1]
        top, bottom, land = (
            torch.tensor(color).reshape(3, 1, 1, 1) for color in (self.top, self.bottom, self.land)
        )
        sky = top + (bottom - top) * (rows / horizon.clamp(min=1)).clamp(max=1)  # [3, T, H, W]
        is_land = (rows + 1 - horizon).clamp(0, 1)  # fractional in the pixel of the horizon
        return sky + is_land * (land - sky)

    def skyline(self, camera: Camera, seconds: Tensor) -> Tensor:
        """Return the height of the horizon in each column, `[T, W]` in pixels from the top."""
        shift_x, shift_y = camera.shifts(seconds)[:, :, None]  # [T, 1] each
        scale = camera.scales(seconds)[:, None]  # [T, 1]
        middle = FRAME_SIZE / 2
        column = torch.arange(FRAME_SIZE, dtype=torch.float32) + 0.5
        x = middle + (column - middle) / scale - shift_x  # [T, W]
        hill = (2 * math.pi * x / self.hill_length + self.hill_phase).sin()
        return middle + scale * (self.horizon + self.hill_height * hill - middle) + shift_y


def plain_background(rng: random.Random, tone: str) -> Background:
    """Return a nearly gray background, "dark" or "light"."""
    gray = rng.uniform(*TONES[tone])
    red, green, blue = (gray + rng.uniform(-TINT, TINT) for _ in range(3))
    color = (red, green, blue)
    return Background(color, color, color, 2 * FRAME_SIZE)


def random_place(rng: random.Random, place: str) -> Background:
    """Return a place of `PLACES` in slightly varied light."""
    light = [rng.uniform(-LIGHT, LIGHT) for _ in range(3)]
    top, bottom, land = (_lit(color, light) for color in PLACE_COLORS[place])
    return Background(
        top,
        bottom,
        land,
        horizon=FRAME_SIZE * rng.uniform(*HORIZON),
        hill_height=rng.uniform(*HILL_HEIGHT),
        hill_length=rng.uniform(*HILL_LENGTH),
        hill_phase=rng.uniform(0, 2 * math.pi),
    )


def _lit(color: Color, light: list[float]) -> Color:
    red, green, blue = (min(max(c + d, 0.0), 1.0) for c, d in zip(color, light, strict=True))
    return red, green, blue
