"""What a ranking of blocks measures; apart from the code that does, so that --help stays quick."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import InputError


@dataclass(frozen=True)
class RankSettings:
    """What is measured.

    Attributes:
        budget: of the teacher's parameters that the proposed student may have.
        clips, frames: how many clips the loss is measured on, and how long they and samples are.
        data: where clips come from; None is the built-in world, for a nano teacher only.
        metric: of sampled videos: "nano", "none", or "module:function"; None is "nano" for a nano
            teacher and "none" for others.
        prompts, steps, guidance: of the metric "nano": held-out prompts of each kind, sampling.
    """

    budget: float = 0.6
    clips: int = 8
    frames: int = 16
    data: str | None = None
    metric: str | None = None
    prompts: int = 12
    steps: int = 10
    guidance: float = 7.5

    def __post_init__(self) -> None:
        if not 0 < self.budget < 1 or min(self.clips, self.frames, self.prompts) < 1:
            raise InputError(
                f"got budget {self.budget:g}, {self.clips} clips, {self.frames} frames and "
                f"{self.prompts} prompts, expected a budget between 0 and 1, and at least 1 of each"
            )
