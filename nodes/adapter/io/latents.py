"""LATENTs of videos: `{"samples": [B, 4, T, h, w], ...}`."""

from __future__ import annotations

from typing import Any

import torch

from ....hummingbird_core.errors import InputError
from ....hummingbird_core.sampling.start_frames import at_rest, with_start
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


def starting_with(latent: Latent, start: Latent) -> Latent:
    """Return a LATENT with the frames of `start` for its first ones, and a mask that keeps them.

    Every sampler of ComfyUI then gives the kept frames the noise of each of its steps, as the
    pipeline does.

    Raises:
        InputError: `start`, of the input start_image, does not fit; or there is a mask already.
    """
    samples, first = latent["samples"], start["samples"]
    check_video_latent(start, samples.shape[1], "start_image")
    if size_of(start) != size_of(latent):
        got, expected = ("{}x{}".format(*size_of(one)) for one in (start, latent))
        raise InputError(
            f"input start_image: got {got} pixels for a video of {expected}, expected the same "
            "size: put Upscale Image with crop center before VAE Encode"
        )
    count, frames = first.shape[2], samples.shape[2]
    if count >= frames or len(first) not in (1, len(samples)):
        raise InputError(
            f"input start_image: got {len(first)} videos of {count} frames for {len(samples)} of "
            f"{frames}, expected one, shorter than these: encode fewer frames, or ask for more"
        )
    if "noise_mask" in latent:
        raise InputError(
            "input latent: got a mask together with a start image, expected one of them: remove "
            "Set Latent Noise Mask"
        )
    mask = torch.ones_like(samples[:1, :1])  # [1, 1, T, h, w]
    mask[:, :, :count] = 0  # kept
    return {**latent, "samples": with_start(samples, first), "noise_mask": mask}


def resting_video(start: Latent, frames: int, batch_size: int = 1) -> Latent:
    """Return a LATENT that rests at the last frame of `start`, and a mask that keeps `start`.

    From its noise, a sampler knows where everything is; from that of zeros it would not.

    Raises:
        InputError: `start`, of the input start_image, does not fit.
    """
    latent = starting_with(empty_video(*size_of(start), frames, batch_size), start)
    kept = start["samples"]
    return {**latent, "samples": with_start(at_rest(latent["samples"], kept), kept)}


def size_of(latent: Latent) -> tuple[int, int]:
    """Return width and height of a LATENT in pixels."""
    height, width = latent["samples"].shape[-2:]
    return SIZE_MULTIPLE * width, SIZE_MULTIPLE * height


def check_video_latent(latent: Latent, channels: int, input_name: str) -> None:
    """Raise InputError unless the LATENT of an input is a video of `channels` channels."""
    shape = tuple(latent["samples"].shape)
    if len(shape) != 5 or shape[1] != channels:
        raise InputError(
            f"input {input_name}: got shape {shape}, expected [batch, {channels}, frames, height, "
            "width]: encode frames with the VAE of Load Hummingbird, or connect Empty Hummingbird "
            "Video"
        )
