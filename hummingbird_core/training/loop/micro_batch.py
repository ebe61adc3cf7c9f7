"""How the batch of a step is cut into parts, and where everything random in it comes from.

Every clip of a batch draws from a generator of its own, seeded with the run's seed, the step and
the clip's number in the batch. So one process with a batch of eight computes what four processes
with two clips each do, and a run that was killed and resumed what an undisturbed one does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class MicroBatch:
    """The share of a step's batch that one process computes at once.

    Attributes:
        seed: of the run.
        step: which step of the run, from 0.
        index: of this part, below `count`.
        count: parts of a step: processes times rounds of gradient accumulation.
        size: clips in this part.
        process: who computes it.
    """

    seed: int
    step: int
    index: int = 0
    count: int = 1
    size: int = 1
    process: int = 0

    @property
    def clip_numbers(self) -> range:
        """The indices of this micro-batch's clips in the batch of the step."""
        return range(self.index * self.size, (self.index + 1) * self.size)

    @property
    def clip_seeds(self) -> list[int]:
        """One seed a clip, whoever computes it."""
        return [_seed("clip", self.seed, self.step, n) for n in self.clip_numbers]

    def clip_generators(self) -> list[torch.Generator]:
        """One CPU generator a clip, from its seed."""
        return [torch.Generator().manual_seed(seed) for seed in self.clip_seeds]

    def draw(
        self, shape: Sequence[int], numbers: int, device: torch.device | None = None
    ) -> tuple[Tensor, Tensor]:
        """For each clip noise `[B, *shape]`, and so many numbers in 0..1, `[numbers, B]`.

        Drawn on the CPU from the clip's own generator, so that a seed means the same training on
        every device.
        """
        generators = self.clip_generators()
        noise = torch.stack([torch.randn(tuple(shape), generator=g) for g in generators])
        u = torch.stack([torch.rand(numbers, generator=g) for g in generators], dim=1)
        return noise.to(device), u.to(device)

    def wider(self, factor: int) -> MicroBatch:
        """The same place in a batch of so many times more clips."""
        return replace(self, size=factor * self.size)

    def step_generator(self) -> torch.Generator:
        """A CPU generator for what all parts of a step draw alike."""
        return torch.Generator().manual_seed(_seed("step", self.seed, self.step))

    @property
    def layer_seed(self) -> int:
        """For torch's global generators, from which layers such as dropout draw."""
        return _seed("layers", self.seed, self.step, self.index)


def _seed(*names: str | int) -> int:
    """A hash, since torch looks at the lower 32 bits of a seed only: sums of numbers would meet."""
    digest = hashlib.sha256(" ".join(map(str, names)).encode()).digest()
    return int.from_bytes(digest[:4], "little")
