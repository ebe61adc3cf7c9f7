"""The built-in model's world: endless captioned videos of shapes and pictures that move."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from .backgrounds import BACKGROUNDS
from .images import IMAGES, ImageScene, random_image
from .motion import OPENINGS, VERBS, WAYS
from .shapes import COLORS, SHAPES, ShapeScene, random_shape

Scene = ShapeScene | ImageScene
DrawScene = Callable[..., Scene]  # draw(rng, num_frames=..., fps=...)

HELD_OUT_MODULUS = 10  # one caption in ten is never trained on
IMAGE_SHARE = 2 / 3  # of the scenes: there is more to learn in them than in shapes


def random_scene(rng: random.Random, **clip: float) -> Scene:
    """A shape or a picture."""
    draw: DrawScene = random_image if rng.random() < IMAGE_SHARE else random_shape
    return draw(rng, **clip)


def samples(
    seed: int, draw: DrawScene = random_scene, *, held_out: bool = False, **clip: float
) -> Iterator[tuple[Scene, str]]:
    """Endless scenes with captions, of the training or of the held-out wordings.

    Args:
        seed: of the row of scenes.
        draw: `random_shape` or `random_picture` for one half of the world.
        held_out: which wordings.
        **clip: `num_frames` and `fps`.
    """
    rng = random.Random(seed)
    while True:
        scene = draw(rng, **clip)
        text = scene.caption(rng)
        if is_held_out(text) == held_out:
            yield scene, text


def is_held_out(text: str) -> bool:
    """Whether a caption is kept for evaluation; decided by its text alone."""
    return zlib.crc32(text.encode()) % HELD_OUT_MODULUS == 0


def single_frames(seeds: Iterable[int]) -> Tensor:
    """A picture of a scene for each seed, `[B, 3, SIZE, SIZE]` in -1..1."""
    scenes = (next(samples(seed, num_frames=1))[0] for seed in seeds)
    return torch.stack([scene.render()[:, 0] for scene in scenes]) * 2 - 1


def vocabulary() -> list[str]:
    """Every word a caption can hold, sorted."""
    phrases = [*COLORS, *SHAPES, *IMAGES, *BACKGROUNDS.values(), *VERBS, *OPENINGS]
    phrases += [way for ways in WAYS.values() for way in ways]
    phrases += ["big small quickly slowly", "on a dark light background"]
    return sorted({word for phrase in phrases for word in phrase.split()})
