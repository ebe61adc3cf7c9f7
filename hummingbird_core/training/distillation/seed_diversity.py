"""Diversity of a student's validation videos over seeds, against the teacher's.

Judges of what a prompt says do not see a student that draws the same right video for every seed.
Distillation, training on own samples, and rewards all lead there, so each validation measures it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from ...files import atomic_write
from ...terminal import get_logger
from ...video.diversity import has_collapsed, seed_distance
from ..loop.progress import read_losses

logger = get_logger(__name__)

TEACHER_STEP = -1  # number of the line with the teacher's distances


@dataclass
class SeedDiversity:
    """Distances between seeds of each prompt, in a file; warns when too much of them is lost.

    Attributes:
        path: file of one JSON object a line; a resumed run appends to it.
        distances: mean absolute distance between the latents of two seeds of each prompt, by step;
            the teacher's have the step -1.
        writes: whether this process writes the file and warns.
    """

    path: Path
    writes: bool = True
    distances: dict[int, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for line in read_losses(self.path):
            self.distances[line["step"]] = line["seed_distance"]

    @property
    def needs_teacher(self) -> bool:
        """Return whether the teacher's videos have to be made first."""
        return TEACHER_STEP not in self.distances

    def add_teacher(self, latents: Tensor) -> None:
        """Keep the teacher's distances, of latents `[P, S, 4, T, h, w]`."""
        self._keep(TEACHER_STEP, latents)

    def add(self, step: int, latents: Tensor) -> float:
        """Measure latents `[P, S, 4, T, h, w]` of S seeds of P prompts, and warn if they are alike.

        Returns:
            The mean distance against the teacher's; 1 is as different.
        """
        self.distances = {n: d for n, d in self.distances.items() if n < step}
        self._keep(step, latents)
        share = _mean(self.distances[step]) / max(_mean(self.distances[TEACHER_STEP]), 1e-12)
        if not self.writes:
            return share
        logger.info("step %d: two seeds differ by %.0f %% of the teacher's", step, 100 * share)
        if step and has_collapsed(share, 1.0):
            logger.warning(
                "step %d: two seeds of a prompt differ by %.0f %% of what the teacher's do: the "
                "student draws nearly the same video for every seed; lower the guidance or the "
                "weight of rewards, or train with path_kd or distribution",
                step,
                100 * share,
            )
        return share

    def _keep(self, step: int, latents: Tensor) -> None:
        self.distances[step] = seed_distance(latents).tolist()
        if not self.writes:
            return
        lines = ({"step": n, "seed_distance": d} for n, d in sorted(self.distances.items()))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.path) as temporary:
            temporary.write_bytes("".join(json.dumps(line) + "\n" for line in lines).encode())


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
