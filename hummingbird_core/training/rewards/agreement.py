"""The built-in model's learned reward: agreement of a clip and its caption."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...nano.agreement import AgreementModel


@dataclass(frozen=True)
class AgreementReward:
    """Cosine of a clip and its caption in the space of a contrastive model.

    Attributes:
        model: frozen.
        name: for logs.
    """

    model: AgreementModel
    name: str = "agreement"

    def __call__(self, frames: Tensor, captions: list[str], generator: torch.Generator) -> Tensor:
        """Score clips `[B, 3, K, H, W]` in -1..1: `[B]` in -1..1; `generator` is not used."""
        return self.model(frames, captions)

    def frames_needed(self, num_frames: int, generator: torch.Generator) -> Tensor:
        """Choose frames from the first to the last, see `Reward`; short clips repeat frames."""
        return self.model.chosen_frames(num_frames)
