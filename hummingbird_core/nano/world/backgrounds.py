"""Backgrounds of the synthetic dataset: a plain tone, or a sky over land."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor

from .motion import FRAME_SIZE, random_gray

Tone = tuple[float, float, float]

BACKGROUNDS = {
    "meadow": "over a meadow",
    "sea": "over the sea",
    "desert": "in the desert",
    "night": "at night",
}
# Sky at the top, sky at the horizon, land.
TONES: dict[str, tuple[Tone, Tone, Tone]] = {
    "meadow": ((0.42, 0.70, 0.96), (0.80, 0.92, 0.99), (0.36, 0.62, 0.22)),
    "sea": ((0.66, 0.84, 0.95), (0.90, 0.95, 0.96), (0.08, 0.36, 0.58)),
    "desert": ((0.97, 0.74, 0.48), (0.99, 0.90, 0.70), (0.84, 0.62, 0.34)),
    "night": ((0.03, 0.04, 0.16), (0.16, 0.14, 0.34), (0.05, 0.09, 0.08)),
}
HORIZON = (0.60, 0.75)  # share of the height, from the top
TONE_JITTER = 0.03


@dataclass(frozen=True)
class Background:
    """A sky that brightens towards a level horizon, and land below it."""

    top: Tone
    bottom: Tone
    land: Tone
    horizon: float  # pixels from the top

    def draw(self) -> Tensor:
        """Return float `[3, FRAME_SIZE, 1]` in 0..1: one color per row."""
        rows = torch.arange(FRAME_SIZE, dtype=torch.float32)
        top, bottom, land = (torch.tensor(t)[:, None] for t in (self.top, self.bottom, self.land))
        sky = top + (bottom - top) * (rows / self.horizon).clamp(max=1)  # [3, H]
        is_land = (rows + 1 - self.horizon).clamp(0, 1)  # fractional in the row of the horizon
        return (sky + is_land * (land - sky))[..., None]


def plain_background(rng: random.Random) -> Background:
    """Return a background of one nearly gray tone."""
    gray = random_gray(rng)
    return Background(gray, gray, gray, FRAME_SIZE)


def random_background(rng: random.Random, place: str) -> Background:
    """Return a place of `BACKGROUNDS` in slightly varied light."""
    light = tuple(rng.uniform(-TONE_JITTER, TONE_JITTER) for _ in range(3))
    tones = [tuple(t + d for t, d in zip(tone, light, strict=True)) for tone in TONES[place]]
    top, bottom, land = (tuple(min(max(t, 0.0), 1.0) for t in tone) for tone in tones)
    return Background(top, bottom, land, FRAME_SIZE * rng.uniform(*HORIZON))  # type: ignore[arg-type]
