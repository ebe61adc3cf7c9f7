"""The synthetic dataset: an infinite stream of captioned scenes, with parts held out."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable, Iterator
from typing import Literal

import torch
from torch import Tensor

from .captions import Said, write
from .paths import Clip
from .scene import Scene, random_scene, say

HeldOut = Literal["wording", "order", "combination"]
HELD_OUT: tuple[HeldOut, ...] = ("wording", "order", "combination")
WORDING_MODULUS = 10  # one caption in ten is held out
COMBINATION_MODULUS = 15  # one pair of subject and motion, or subject and place, in fifteen
COMBINATION_SALT = "held out"


def samples(
    seed: int, clip: Clip | None = None, *, held_out: HeldOut | None = None
) -> Iterator[tuple[Scene, Said, str]]:
    """Yield an infinite stream of scenes, what their captions say, and the captions.

    Args:
        seed: seed of the stream.
        clip: number of frames, frame rate, and whether they loop.
        held_out: None yields what training sees. "wording": captions that it does not see; "order":
            orders of words; "combination": a subject with a motion or at a place. The rest of each
            is as in training.
    """
    rng = random.Random(seed)
    while True:
        scene = random_scene(rng, clip)
        said = say(scene, rng)
        text = write(said, rng, unusual=held_out == "order")
        if _kind(scene.describe(), text, held_out == "order") == held_out:
            yield scene, said, text


def _kind(said: Said, text: str, unusual: bool) -> HeldOut | None:
    """Return by what a caption is held out, if it is."""
    if has_held_out_combination(said):
        return "combination"
    if unusual:
        return "order"
    return "wording" if is_held_out(text) else None


def is_held_out(text: str) -> bool:
    """Return whether the wording of a caption is held out; depends on its text alone."""
    return zlib.crc32(text.encode()) % WORDING_MODULUS == 0


def has_held_out_combination(said: Said) -> bool:
    """Return whether a subject has a motion or a place that training never shows it with."""
    pairs = [(m.subject, v) for m in said.mentions for v in (m.motion, said.place) if v]
    keys = (f"{COMBINATION_SALT} {subject} {value}".encode() for subject, value in pairs)
    return any(zlib.crc32(key) % COMBINATION_MODULUS == 0 for key in keys)


def single_frames(seeds: Iterable[int]) -> Tensor:
    """Return one frame per seed, `[B, 3, FRAME_SIZE, FRAME_SIZE]` in -1..1."""
    scenes = (next(samples(seed, Clip(num_frames=1)))[0] for seed in seeds)
    return torch.stack([scene.render()[:, 0] for scene in scenes]) * 2 - 1
