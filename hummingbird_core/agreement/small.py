"""The contrastive model of the built-in world, `hummingbird train agreement`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from .model import AgreementModel, load_agreement


@dataclass(frozen=True)
class SmallVideoModel:
    """The contrastive model of the built-in world, as a `TextVideoModel`."""

    model: AgreementModel

    @classmethod
    def load(cls, path: str | Path) -> SmallVideoModel:
        """Read the model's file."""
        return cls(load_agreement(path))

    @torch.no_grad()
    def embed_video(self, frames: np.ndarray) -> np.ndarray:
        """Return the vector `[D]` of uint8 `[T, H, W, 3]`."""
        # [T, H, W, 3] -> [1, 3, T, H, W] in -1..1
        video = torch.from_numpy(frames).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
        return self.model.embed_video(video)[0].numpy()

    @torch.no_grad()
    def embed_text(self, text: str) -> np.ndarray:
        """Return the vector `[D]` of a text."""
        return self.model.embed_text([text])[0].numpy()
