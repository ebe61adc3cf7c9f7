"""LATENTs of videos: `{"samples": [B, 4, T, h, w], ...}`."""

from __future__ import annotations

from typing import Any

import torch

from ....hummingbird_core.errors import InputError
from ....hummingbird_core.settings import SIZE_MULTIPLE
from ..model.memory import check_latents

Latent = dict[str, Any]  # ComfyUI's LATENT: "samples" [B, 4, T, h, w] and more


def empty_video(width: int, height: int, frames: int, batch_size: int = 1) -> Latent:
    """Return a LATENT of zeros; `width` and `height` in pixels.

    Raises:
        InputError: it does not fit into the computer's memory.
    """
    shape = batch_size, 4, frames, height // SIZE_MULTIPLE, width // SIZE_MULTIPLE
    check_latents(shape)
    return {"samples": torch.zeros(shape)}


def check_video_latent(latent: Latent, channels: int, input_name: str) -> None:
    """Raise InputError unless the LATENT of an input is a video of `channels` channels."""
    shape = tuple(latent["samples"].shape)
    if len(shape) != 5 or shape[1] != channels:
        raise InputError(
            f"input {input_name}: got shape {shape}, expected [batch, {channels}, frames, height, "
            "width]: encode frames with the VAE of Load Hummingbird, or connect Empty Hummingbird "
            "Video"
        )
