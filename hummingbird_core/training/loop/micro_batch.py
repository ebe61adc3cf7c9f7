"""Micro-batches: the division of a step's batch, and the source of all its random numbers.

Every clip of a batch has its own generator, seeded by the run's seed, the step and the clip's index
in the batch. So one process with a batch of eight computes the same as four processes with two
clips each, and a run killed and resumed the same as an uninterrupted one. Phases other than the
first have random numbers that differ from its.
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
        step: of the run, from 0; in a phase with several updates a step, the number of the update.
        index: of this micro-batch, below `count`.
        count: micro-batches of a step: processes times rounds of gradient accumulation.
        size: clips in this micro-batch.
        process: index of the process that computes it.
        phase: name of the phase, see `phase.Phase`; "" for the model that the run is about.
    """

    seed: int
    step: int
    index: int = 0
    count: int = 1
    size: int = 1
    process: int = 0
    phase: str = ""

    @property
    def clip_numbers(self) -> range:
        """Indices of the clips in the batch of the step."""
        return range(self.index * self.size, (self.index + 1) * self.size)

    @property
    def clip_seeds(self) -> list[int]:
        """One seed for each clip, the same in every process."""
        return [self._seed("clip", n) for n in self.clip_numbers]

    def clip_generators(self) -> list[torch.Generator]:
        """Return one CPU generator for each clip, from its seed."""
        return [torch.Generator().manual_seed(seed) for seed in self.clip_seeds]

    def draw(
        self, shape: Sequence[int], numbers: int, device: torch.device | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw noise and uniform numbers for each clip.

        Drawn on the CPU from the clip's own generator, so that a seed gives the same training on
        every device.

        Args:
            shape: of the noise of one clip.
            numbers: uniform numbers for each clip.
            device: of the result.

        Returns:
            noise `[B, *shape]` from N(0, 1), and numbers `[numbers, B]` from U(0, 1).
        """
        generators = self.clip_generators()
        drawn = [torch.randn(tuple(shape), generator=g, device="cpu") for g in generators]
        u = [torch.rand(numbers, generator=g, device="cpu") for g in generators]
        return torch.stack(drawn).to(device), torch.stack(u, dim=1).to(device)

    def wider(self, factor: int) -> MicroBatch:
        """Return the same share of a batch with `factor` times as many clips."""
        return replace(self, size=factor * self.size)

    def again(self, purpose: str) -> MicroBatch:
        """Return the same clips with other random numbers, for another purpose."""
        return replace(self, phase=f"{self.phase} {purpose}")

    def step_generator(self) -> torch.Generator:
        """Return a CPU generator that is the same for all micro-batches of a step."""
        return torch.Generator().manual_seed(self._seed("step"))

    @property
    def layer_seed(self) -> int:
        """Seed of torch's global generators, used by layers such as dropout."""
        return self._seed("layers", self.index)

    def _seed(self, kind: str, *numbers: int) -> int:
        """Return a 32-bit hash: torch uses only these bits, and sums of numbers would collide."""
        phase = [self.phase] if self.phase else []  # without one, the seeds of runs before phases
        names = (kind, self.seed, self.step, *numbers, *phase)
        digest = hashlib.sha256(" ".join(map(str, names)).encode()).digest()
        return int.from_bytes(digest[:4], "little")
