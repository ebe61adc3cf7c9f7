"""The order of training clips: a pure function of a seed and a clip's number.

Clips form an infinite, deterministic stream, numbered from 0: every epoch is one shuffled pass over
all of them, and each step takes the next `batch` clips. There is no state, so a resumed run
continues exactly, and any number of processes sees the same clips.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ...errors import InputError
from ...inputs.timed_captions import cut_to_frames

MAX_STRIDE = 6  # frame strides 1 to 6 were used at full size


@dataclass(frozen=True)
class ClipConfig:
    """Settings for cutting training clips from videos.

    Args:
        num_frames: of a training clip.
        max_stride: each clip takes every n-th frame, with n random from 1 to this, or less in a
            short video.
        caption_dropout: share of clips without text, for classifier-free guidance.
        seed: of all random numbers.
        fps: target frame rate in place of a random stride, rounded to whole strides that the
            video's length allows.
    """

    num_frames: int = 16
    max_stride: int = MAX_STRIDE
    caption_dropout: float = 0.0
    seed: int = 0
    fps: float | None = None

    def __post_init__(self) -> None:
        for name in ("num_frames", "max_stride"):
            if getattr(self, name) < 1:
                raise InputError(f"got {name} {getattr(self, name)}, expected at least 1")
        if not 0 <= self.caption_dropout <= 1:
            raise InputError(f"got caption_dropout {self.caption_dropout}, expected 0 to 1")
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise InputError(f"got fps {self.fps}, expected more than 0, or null for any rate")


@dataclass(frozen=True)
class Window:
    """Frames `start`, `start + stride`, ... of a video."""

    start: int
    stride: int

    def fps(self, source_fps: float) -> float:
        """Return the frame rate for the model, rounded down to whole numbers as at full size."""
        return float(max(1, math.floor(source_fps / self.stride)))


def numbers_of_step(step: int, size: int, rank: int, world_size: int) -> range:
    """Return the clip numbers of one process in one step."""
    first = (step * world_size + rank) * size
    return range(first, first + size)


def clip_index(number: int, count: int, seed: int) -> int:
    """Return the index, among `count` clips, of the clip with this number."""
    epoch, position = divmod(number, count)
    return int(_shuffled(count, seed, epoch)[position])


@lru_cache(maxsize=2)  # a step can lie in two epochs
def _shuffled(count: int, seed: int, epoch: int) -> Tensor:
    generator = torch.Generator().manual_seed(random.Random(f"{seed} {epoch}").getrandbits(32))
    return torch.randperm(count, generator=generator)


def clip_random(number: int, seed: int) -> random.Random:
    """Return the random generator of the clip with this number."""
    return random.Random(f"clip {seed} {number}")


def draw_window(
    available: int, source_fps: float, settings: ClipConfig, rng: random.Random
) -> Window:
    """Draw a start among `available` frames, and a stride they allow: random, or by fps."""
    steps = settings.num_frames - 1
    longest = (available - 1) // steps if steps else 1
    if settings.fps is None:
        stride = rng.randint(1, min(settings.max_stride, longest))
    else:
        stride = min(max(1, round(source_fps / settings.fps)), longest)
    return Window(rng.randrange(available - steps * stride), stride)


def draw_caption(
    caption: str, fps: float, window: Window, settings: ClipConfig, rng: random.Random
) -> str:
    """Return the caption of a window, or "" with the probability `caption_dropout`.

    Args:
        caption: of the video; one with times keeps those that lie in the window, as numbers of its
            frames.
        fps: frames per second of the video.
        window: frames of the video.
        settings: length of the window, and the dropout.
        rng: of the clip.
    """
    if rng.random() < settings.caption_dropout:
        return ""
    return cut_to_frames(caption, fps, window.start, settings.num_frames, window.stride)
