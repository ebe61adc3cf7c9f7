"""What a reward model is to the training loop, and which frames it wants to see."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Reward(Protocol):
    """Judges how well decoded frames show what their captions say."""

    @property
    def name(self) -> str:
        """For logs."""
        ...

    def __call__(self, frames: Tensor, captions: list[str], generator: torch.Generator) -> Tensor:
        """Scores clips; differentiable in `frames`.

        Args:
            frames: `[B, 3, K, H, W]` in -1..1, those that `frames_needed` asked for.
            captions: one a clip.
            generator: on the CPU; everything random, such as a crop, is drawn from it.

        Returns:
            `[B]`, higher is better.
        """
        ...

    def frames_needed(self, num_frames: int, generator: torch.Generator) -> Tensor:
        """Indices `[K]`, rising, of the frames to decode from clips of `num_frames` frames."""
        ...


def random_frames(num_frames: int, count: int, generator: torch.Generator) -> Tensor:
    """`count` different frames at random, or all if there are fewer: `[K]`, rising."""
    return torch.randperm(num_frames, generator=generator)[:count].sort().values


def strided_frames(num_frames: int, count: int, generator: torch.Generator) -> Tensor:
    """`count` frames floor(num_frames / count) apart, from a random first one: `[count]`, rising.

    If there are fewer, each comes about equally often.
    """
    if num_frames < count:
        return torch.arange(count) * num_frames // count
    stride = num_frames // count
    starts = num_frames - stride * (count - 1)
    return int(torch.randint(starts, (1,), generator=generator)) + stride * torch.arange(count)
