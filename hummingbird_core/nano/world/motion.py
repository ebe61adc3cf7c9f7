"""Motion of the subjects of the synthetic dataset, and the words for it."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor

DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}  # x right, y down

FRAME_SIZE = 64  # pixels, height and width
NUM_FRAMES = 16
LONG_FRAMES = 26  # the longest training clips
NANO_FPS = 8.0
RADIUS = (14.0, 18.0)  # pixels: half the side of a subject's bounding square
SPEED = (8.0, 14.0)  # pixels a second

VERBS = (
    *("moves", "moving", "slides", "sliding", "drifts", "drifting", "goes", "going"),
    *("glides", "gliding", "travels", "travelling", "floats", "floating", "flies", "flying"),
    "is moving",
)
WAYS = {
    "left": ("left", "to the left", "leftwards", "towards the left"),
    "right": ("right", "to the right", "rightwards", "towards the right"),
    "up": ("up", "upwards", "to the top", "towards the top"),
    "down": ("down", "downwards", "to the bottom", "towards the bottom"),
}
OPENINGS = ("a", "the", "a video of a", "one", "")


@dataclass(frozen=True)
class Motion:
    """Uniform motion in one of four directions."""

    direction: str
    radius: float
    speed: float  # pixels a second
    start: tuple[float, float]  # center in the first frame, (x, y) in pixels
    fps: float
    num_frames: int

    def offsets(self) -> tuple[Tensor, Tensor]:
        """Return pixel offsets from the center: x `[T, 1, FRAME_SIZE]`, y `[T, FRAME_SIZE, 1]`."""
        time = torch.arange(self.num_frames, dtype=torch.float32) / self.fps
        dx, dy = DIRECTIONS[self.direction]
        center_x = self.start[0] + dx * self.speed * time
        center_y = self.start[1] + dy * self.speed * time
        pixels = torch.arange(FRAME_SIZE, dtype=torch.float32) + 0.5
        x = pixels[None, None, :] - center_x[:, None, None]  # [T, 1, W]
        y = pixels[None, :, None] - center_y[:, None, None]  # [T, H, 1]
        return x, y


def random_motion(
    rng: random.Random, num_frames: int = NUM_FRAMES, fps: float = NANO_FPS
) -> Motion:
    """Return a motion that stays inside the frame for the whole clip."""
    direction = rng.choice(list(DIRECTIONS))
    radius = rng.uniform(*RADIUS)
    margin = radius + 1.5
    room = FRAME_SIZE - 2 * margin
    seconds = max(num_frames - 1, 1) / fps
    speed = min(rng.uniform(*SPEED), room / seconds)
    along = margin + rng.uniform(0, room - speed * seconds)
    across = margin + rng.uniform(0, room)
    if direction in ("left", "up"):
        along = FRAME_SIZE - along
    start = (along, across) if direction in ("left", "right") else (across, along)
    return Motion(direction, radius, speed, start, fps, num_frames)


def random_gray(rng: random.Random) -> tuple[float, float, float]:
    """Return a nearly gray tone, dark or light, never close to the color of a shape."""
    gray = rng.uniform(0.04, 0.30) if rng.random() < 0.7 else rng.uniform(0.72, 0.94)
    red, green, blue = (gray + rng.uniform(-0.04, 0.04) for _ in range(3))
    return red, green, blue


def sentence(rng: random.Random, subject: str, motion: Motion, place: str) -> str:
    """Return one of many wordings, some of which mention size and speed."""
    words = [rng.choice(OPENINGS)]
    if rng.random() < 0.2:
        words.append("big" if motion.radius > sum(RADIUS) / 2 else "small")
    words += [subject, rng.choice(VERBS)]
    if rng.random() < 0.2:
        words.append("quickly" if motion.speed > sum(SPEED) / 2 else "slowly")
    words += [rng.choice(WAYS[motion.direction]), place]
    return " ".join(word for word in words if word)
