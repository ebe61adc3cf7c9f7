"""A world of moving shapes: endless captioned videos to train and judge the built-in model on.

A coloured shape moves in one of four directions over a plain background. Videos are drawn from
signed distances, so edges are anti-aliased and positions are not bound to pixels. Relatives:
captioned bouncing MNIST (Sync-DRAW, arXiv 1611.10314), SBMG (TGANs-C, arXiv 1804.08264).
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

COLOURS = {
    "red": (0.90, 0.12, 0.12),
    "yellow": (0.95, 0.88, 0.10),
    "green": (0.10, 0.78, 0.16),
    "cyan": (0.10, 0.85, 0.90),
    "blue": (0.14, 0.22, 0.95),
    "magenta": (0.90, 0.14, 0.85),
}
SHAPES = ("circle", "square", "triangle")
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}  # x right, y down

SIZE = 64  # pixels, height and width
NUM_FRAMES = 16
FPS = 8.0
RADIUS = (14.0, 18.0)  # pixels; see `_signed_distance` for what it means for each shape
SPEED = (8.0, 14.0)  # pixels a second

VERBS = (
    *("moves", "moving", "slides", "sliding", "drifts", "drifting", "goes", "going"),
    *("glides", "gliding", "travels", "travelling", "floats", "floating", "is moving"),
)
WAYS = {
    "left": ("left", "to the left", "leftwards", "towards the left"),
    "right": ("right", "to the right", "rightwards", "towards the right"),
    "up": ("up", "upwards", "to the top", "towards the top"),
    "down": ("down", "downwards", "to the bottom", "towards the bottom"),
}
OPENINGS = ("a", "the", "a video of a", "one", "")
HELD_OUT = 10  # one caption in ten is never trained on


@dataclass(frozen=True)
class Scene:
    """Everything that is in one video; `render` draws it and `caption` words it."""

    colour: str
    shape: str
    direction: str
    radius: float
    speed: float  # pixels a second
    background: tuple[float, float, float]
    start: tuple[float, float]  # centre in the first frame, (x, y) in pixels
    fps: float
    num_frames: int


def random_scene(rng: random.Random, num_frames: int = NUM_FRAMES, fps: float = FPS) -> Scene:
    """A scene whose shape stays inside the picture from the first frame to the last."""
    direction = rng.choice(list(DIRECTIONS))
    radius = rng.uniform(*RADIUS)
    margin = radius + 1.5
    room = SIZE - 2 * margin
    seconds = max(num_frames - 1, 1) / fps
    speed = min(rng.uniform(*SPEED), room / seconds)
    along = margin + rng.uniform(0, room - speed * seconds)
    across = margin + rng.uniform(0, room)
    if direction in ("left", "up"):
        along = SIZE - along
    start = (along, across) if direction in ("left", "right") else (across, along)
    return Scene(
        colour=rng.choice(list(COLOURS)),
        shape=rng.choice(SHAPES),
        direction=direction,
        radius=radius,
        speed=speed,
        background=_random_background(rng),
        start=start,
        fps=fps,
        num_frames=num_frames,
    )


def _random_background(rng: random.Random) -> tuple[float, float, float]:
    """A nearly grey tone, dark or light: never close to a palette colour."""
    grey = rng.uniform(0.04, 0.30) if rng.random() < 0.7 else rng.uniform(0.72, 0.94)
    red, green, blue = (grey + rng.uniform(-0.04, 0.04) for _ in range(3))
    return red, green, blue


def _signed_distance(shape: str, x: Tensor, y: Tensor, radius: float) -> Tensor:
    """Pixels from the edge of a shape centred at 0, negative inside (exact at flat edges)."""
    if shape == "circle":
        return (x * x + y * y).sqrt() - radius
    if shape == "square":
        return torch.maximum(x.abs(), y.abs()) - 0.9 * radius
    # An upright triangle with its bounding box centred: apex on top, base below.
    slope = 0.894, 0.447  # outward normal of the right side: a triangle as wide as it is high
    side = slope[0] * x.abs() - slope[1] * (y + radius)
    return torch.maximum(side, y - radius)


def render(scene: Scene) -> Tensor:
    """Draws a scene.

    Returns:
        float video `[3, T, SIZE, SIZE]` in 0..1.
    """
    time = torch.arange(scene.num_frames, dtype=torch.float32) / scene.fps
    dx, dy = DIRECTIONS[scene.direction]
    centre_x = scene.start[0] + dx * scene.speed * time
    centre_y = scene.start[1] + dy * scene.speed * time
    pixels = torch.arange(SIZE, dtype=torch.float32) + 0.5
    x = pixels[None, None, :] - centre_x[:, None, None]  # [T, 1, W]
    y = pixels[None, :, None] - centre_y[:, None, None]  # [T, H, 1]
    distance = _signed_distance(scene.shape, x, y, scene.radius)  # [T, H, W]
    cover = (0.5 - distance).clamp(0, 1)  # share of each pixel that the shape covers
    colour = torch.tensor(COLOURS[scene.colour])[:, None, None, None]
    background = torch.tensor(scene.background)[:, None, None, None]
    return background + cover * (colour - background)


def caption(scene: Scene, rng: random.Random) -> str:
    """One of many wordings of a scene; size, speed and background are sometimes mentioned."""
    words = [rng.choice(OPENINGS)]
    if rng.random() < 0.2:
        words.append("big" if scene.radius > sum(RADIUS) / 2 else "small")
    words += [scene.colour, scene.shape, rng.choice(VERBS)]
    if rng.random() < 0.2:
        words.append("quickly" if scene.speed > sum(SPEED) / 2 else "slowly")
    words.append(rng.choice(WAYS[scene.direction]))
    if rng.random() < 0.2:
        words.append(f"on a {'dark' if scene.background[1] < 0.5 else 'light'} background")
    return " ".join(word for word in words if word)


def is_held_out(text: str) -> bool:
    """Whether a caption is kept for evaluation; decided by its text alone."""
    return zlib.crc32(text.encode()) % HELD_OUT == 0


def samples(seed: int, *, held_out: bool = False, **scene: float) -> Iterator[tuple[Scene, str]]:
    """Endless scenes with captions, of the training or of the held-out wordings."""
    rng = random.Random(seed)
    while True:
        candidate = random_scene(rng, **scene)  # type: ignore[arg-type]
        text = caption(candidate, rng)
        if is_held_out(text) == held_out:
            yield candidate, text


def single_frames(seeds: Iterable[int]) -> Tensor:
    """A picture of a scene for each seed, `[B, 3, SIZE, SIZE]` in -1..1."""
    scenes = (next(samples(seed, num_frames=1))[0] for seed in seeds)
    return torch.stack([render(scene)[:, 0] for scene in scenes]) * 2 - 1


def vocabulary() -> list[str]:
    """Every word a caption can hold, sorted."""
    phrases = [*COLOURS, *SHAPES, *VERBS, *OPENINGS, "big small quickly slowly"]
    phrases += [way for ways in WAYS.values() for way in ways]
    phrases.append("on a dark light background")
    return sorted({word for phrase in phrases for word in phrase.split()})
