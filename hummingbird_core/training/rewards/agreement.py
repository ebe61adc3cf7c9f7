"""The built-in model's learned reward: agreement of a clip and its caption."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...agreement.model import AgreementModel


class AgreementReward(nn.Module):
    """Cosine of a clip and its caption in the space of a contrastive model.

    Args:
        model: its weights are frozen.
    """

    name = "agreement"

    def __init__(self, model: AgreementModel):
        super().__init__()
        self.model = model.eval().requires_grad_(False)

    def forward(self, frames: Tensor, captions: list[str], generator: torch.Generator) -> Tensor:
        """Score clips `[B, 3, K, H, W]` in -1..1: `[B]` in -1..1; `generator` is not used."""
        return self.model(frames, captions)

    def frames_needed(self, num_frames: int, generator: torch.Generator) -> Tensor:
        """Choose frames from the first to the last, see `Reward`; short clips repeat frames."""
        return self.model.chosen_frames(num_frames)
