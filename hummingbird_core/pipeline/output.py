"""Videos as users want them: uint8 or float frames, tensors, images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..text.encoder import TextEncoding

if TYPE_CHECKING:
    from PIL.Image import Image

OutputType = Literal["uint8", "np", "pt", "pil", "latent"]


@dataclass(frozen=True)
class VideoOutput:
    """Videos with their latents, prompts and seeds.

    Attributes:
        frames: uint8 `[B, T, H, W, 3]`, or by `output_type` "np": float32 of the same shape in
            0..1; "pt": a float32 tensor `[B, T, 3, H, W]` in 0..1, on the CPU; "pil": for each
            video a list of its frames; "latent": `latents`.
        latents: denoised latents `[B, 4, T, H/8, W/8]` on the CPU; an inference tensor, so
            `.clone()` it to train on it.
        prompts: one per video.
        text: token counts, and the text that was cut off or unknown.
        seeds: one per video; video i of a batch equals the single video of seed + i. Empty if a
            generator drew the noise.
    """

    frames: Any
    latents: Tensor
    prompts: list[str]
    text: TextEncoding
    seeds: list[int]


def check_output_type(output_type: str) -> None:
    """Raise InputError for an unknown output type."""
    if output_type not in get_args(OutputType):
        raise InputError(
            f"got output_type {output_type!r}, expected one of {', '.join(get_args(OutputType))}: "
            "choose one"
        )


def join_frames(parts: Sequence[Tensor], output_type: OutputType) -> Any:
    """Return videos whose parts over time `to_frames` has converted."""
    video = torch.cat(list(parts), dim=1)
    if output_type == "pt":
        return video
    return to_pil(video.numpy()) if output_type == "pil" else video.numpy()


def to_frames(video: Tensor, output_type: OutputType) -> Tensor:
    """Convert a part of a video `[B, 3, T, H, W]` in -1..1 for `join_frames`, on the CPU."""
    if output_type in ("uint8", "pil"):
        return torch.from_numpy(to_uint8(video))
    scaled = ((video.float() + 1) / 2).clamp(0, 1).cpu()
    order = (0, 2, 1, 3, 4) if output_type == "pt" else (0, 2, 3, 4, 1)
    return scaled.permute(order).contiguous()


def to_uint8(video: Tensor) -> np.ndarray:
    """Convert video `[B, 3, T, H, W]` in -1..1 to frames, uint8 `[B, T, H, W, 3]`."""
    levels = ((video.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return levels.permute(0, 2, 3, 4, 1).cpu().numpy()


def to_pil(frames: np.ndarray) -> list[list[Image]]:
    """Convert frames, uint8 `[B, T, H, W, 3]`, to images."""
    from PIL import Image

    make: Callable[[np.ndarray], Image.Image] = Image.fromarray
    return [[make(frame) for frame in video] for video in frames]
