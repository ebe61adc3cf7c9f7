"""What a training step reads: a batch of clips as latents, a function of its number alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from ..loop.micro_batch import MicroBatch


@dataclass(frozen=True)
class ClipBatch:
    """One process's clips of a training step.

    Attributes:
        latents: `[B, 4, T, h, w]`, times the VAE's scaling factor.
        captions: B of them; "" is a clip without text.
        fps: `[B]`, of the latents' frames.
    """

    latents: Tensor
    captions: list[str]
    fps: Tensor

    def to(self, device: torch.device) -> ClipBatch:
        """The same on another device."""
        return replace(self, latents=self.latents.to(device), fps=self.fps.to(device))


class ClipSource(Protocol):
    """Gives the batch of any step at once: a resumed run needs no state to go on exactly."""

    def batch(self, step: int, *, size: int, rank: int = 0, world_size: int = 1) -> ClipBatch:
        """`size` clips, the `rank`-th slice of the step's `size * world_size`."""
        ...


def batch_of(clips: ClipSource, micro_batch: MicroBatch) -> ClipBatch:
    """The clips of a part of a step."""
    return clips.batch(
        micro_batch.step,
        size=micro_batch.size,
        rank=micro_batch.index,
        world_size=micro_batch.count,
    )
