"""The reader of shapes as a held-out judge; see `held_out`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...nano.readers.shapes import Reading, read_video
from .shapes import read_caption


@dataclass(frozen=True)
class ShapeJudge:
    """Share of colour, shape and direction that a clip has right: 0, 1/3, 2/3 or 1.

    It counts, so it has no gradient and cannot be trained on.
    """

    name: str = "shape_reader"

    def __call__(self, frames: Tensor, captions: list[str], generator: torch.Generator) -> Tensor:
        """Scores `[B]` of clips `[B, 3, T, H, W]` in -1..1; `generator` is not used.

        Raises InputError if a caption lacks a colour, a shape or a direction.
        """
        pixels = ((frames.detach() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        clips = pixels.permute(0, 2, 3, 4, 1).cpu().numpy()  # [B, T, H, W, 3]
        pairs = zip(clips, captions, strict=True)
        return torch.tensor([_share_right(read_video(clip), text) for clip, text in pairs])

    def frames_needed(self, num_frames: int, generator: torch.Generator) -> Tensor:
        """All of them."""
        return torch.arange(num_frames)


def _share_right(seen: Reading, caption: str) -> float:
    read = (seen.colour, seen.shape, seen.direction)
    return sum(got == wanted for got, wanted in zip(read, read_caption(caption), strict=True)) / 3
