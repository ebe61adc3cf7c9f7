"""The interface of reward models, and the choice of the frames they score."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Reward(Protocol):
    """Scores how well decoded frames match their captions."""

    @property
    def name(self) -> str:
        """Name for logs."""
        ...

    def __call__(self, frames: Tensor, captions: list[str], generator: torch.Generator) -> Tensor:
        """Score clips; differentiable in `frames`.

        Args:
            frames: `[B, 3, K, H, W]` in -1..1, the frames chosen by `frames_needed`.
            captions: one for each clip.
            generator: on the CPU; the source of random numbers, such as for a crop.

        Returns:
            `[B]`, higher is better.
        """
        ...

    def frames_needed(self, num_frames: int, generator: torch.Generator) -> Tensor:
        """Return the indices `[K]`, rising, of the frames to decode of clips of `num_frames`."""
        ...


def random_frames(num_frames: int, count: int, generator: torch.Generator) -> Tensor:
    """Draw `count` different frames, or all if there are fewer: `[K]`, rising."""
    return torch.randperm(num_frames, generator=generator)[:count].sort().values


def strided_frames(num_frames: int, count: int, generator: torch.Generator) -> Tensor:
    """Draw `count` frames floor(num_frames / count) apart, from a random start: `[count]`, rising.

    If there are fewer, each is repeated about equally often.
    """
    if num_frames < count:
        return torch.arange(count) * num_frames // count
    stride = num_frames // count
    starts = num_frames - stride * (count - 1)
    return int(torch.randint(starts, (1,), generator=generator)) + stride * torch.arange(count)
