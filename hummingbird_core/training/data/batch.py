"""Batches of clips as latents: each is a function of the step's number alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from ..loop.micro_batch import MicroBatch


@dataclass(frozen=True)
class ClipBatch:
    """The clips of a micro-batch.

    Attributes:
        latents: `[B, 4, T, h, w]`, multiplied by the VAE's scaling factor.
        captions: B of them; "" for a clip without text. One that changes is a prompt over time in
            frames of the clip, "0: a fox runs; 9: a fox sleeps".
        fps: frame rates `[B]`.
        loop: whether the first frame of every clip follows its last one.
    """

    latents: Tensor
    captions: list[str]
    fps: Tensor
    loop: bool = False

    def to(self, device: torch.device) -> ClipBatch:
        """Return the batch on another device."""
        return replace(self, latents=self.latents.to(device), fps=self.fps.to(device))


class ClipSource(Protocol):
    """A random-access stream of batches: a resumed run needs no state to continue exactly."""

    def batch(self, step: int, *, size: int, rank: int = 0, world_size: int = 1) -> ClipBatch:
        """Return `size` clips, the `rank`-th slice of the step's `size * world_size`."""
        ...


def batch_of(clips: ClipSource, micro_batch: MicroBatch) -> ClipBatch:
    """Return the clips of a micro-batch."""
    return clips.batch(
        micro_batch.step,
        size=micro_batch.size,
        rank=micro_batch.index,
        world_size=micro_batch.count,
    )
