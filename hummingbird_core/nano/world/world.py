"""The synthetic dataset: an infinite stream of captioned videos of moving shapes and images."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from .backgrounds import BACKGROUNDS
from .images import ImageScene, random_image
from .looks import COLORS, PICTURES, SHAPES
from .motion import OPENINGS, VERBS, WAYS
from .shapes import ShapeScene, random_shape

Scene = ShapeScene | ImageScene
DrawScene = Callable[..., Scene]  # draw(rng, num_frames=..., fps=...)

HELD_OUT_MODULUS = 10  # one caption in ten is held out: crc32 % 10 == 0
IMAGE_SHARE = 2 / 3  # share of scenes: images are harder to learn than shapes


def random_scene(rng: random.Random, **clip: float) -> Scene:
    """Return a scene of a shape or an image."""
    draw: DrawScene = random_image if rng.random() < IMAGE_SHARE else random_shape
    return draw(rng, **clip)


def samples(
    seed: int, draw: DrawScene = random_scene, *, held_out: bool = False, **clip: float
) -> Iterator[tuple[Scene, str]]:
    """Yield an infinite stream of scenes with captions.

    Args:
        seed: seed of the stream.
        draw: `random_shape` or `random_image` for one half of the dataset.
        held_out: whether to yield the held-out captions or the training captions.
        **clip: `num_frames` and `fps`.
    """
    rng = random.Random(seed)
    while True:
        scene = draw(rng, **clip)
        text = scene.caption(rng)
        if is_held_out(text) == held_out:
            yield scene, text


def is_held_out(text: str) -> bool:
    """Return whether a caption is held out for evaluation; depends on its text alone."""
    return zlib.crc32(text.encode()) % HELD_OUT_MODULUS == 0


def single_frames(seeds: Iterable[int]) -> Tensor:
    """Return one frame per seed, `[B, 3, FRAME_SIZE, FRAME_SIZE]` in -1..1."""
    scenes = (next(samples(seed, num_frames=1))[0] for seed in seeds)
    return torch.stack([scene.render()[:, 0] for scene in scenes]) * 2 - 1


def vocabulary() -> list[str]:
    """Return all words of the captions, sorted."""
    phrases = [*COLORS, *SHAPES, *PICTURES, *BACKGROUNDS.values(), *VERBS, *OPENINGS]
    phrases += [way for ways in WAYS.values() for way in ways]
    phrases += ["big small quickly slowly", "on a dark light background"]
    return sorted({word for phrase in phrases for word in phrase.split()})
