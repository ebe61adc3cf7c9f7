"""Decoding of a LATENT to frames and a VIDEO, with the likely cause if they show nothing."""

from __future__ import annotations

from fractions import Fraction

import comfy.sd
from comfy_api.input_impl import VideoFromComponents
from comfy_api.util import VideoComponents
from torch import Tensor

from ....hummingbird_core.errors import InputError
from ....hummingbird_core.vae import check_finite
from ....hummingbird_core.vae.tiny import FULL_DECODER
from ..errors import absent
from ..model.autoencoder import FrameWiseAutoencoder
from ..model.small_decoder import decode_small
from ..model.unet import DEFAULT_FPS
from .latents import Latent, check_video_latent

FLAT_STD = 1 / 255  # standard deviation below which nothing can be seen


def decode(vae: comfy.sd.VAE, latent: Latent, decoder: str = FULL_DECODER) -> Tensor:
    """Decode a LATENT to an IMAGE `[B*T, H, W, 3]` in 0..1, one video after the other.

    Args:
        vae: of Load Hummingbird.
        latent: a video.
        decoder: one of `small_decoder.DECODERS`.

    Raises:
        CheckpointError: there is no such decoder.
        InputError: the inputs are of another model.
        NumericalError: latents or frames hold NaN or infinity; names the likely cause.
    """
    check_vae(vae)
    check_video_latent(latent, vae.latent_channels, "samples")
    check_finite(latent["samples"], "latents")
    samples = latent["samples"]
    is_full = decoder == FULL_DECODER
    video = vae.decode(samples) if is_full else decode_small(vae, samples, decoder)
    check_finite(video, "frames")
    return video.flatten(0, 1)  # [B, T, H, W, 3] -> [B*T, H, W, 3]


def check_vae(vae: comfy.sd.VAE | None) -> None:
    """Raise InputError unless the VAE is one of ours."""
    if vae is None:
        raise absent("vae")
    network = getattr(vae, "first_stage_model", None)
    if not isinstance(network, FrameWiseAutoencoder):
        raise InputError(
            f"input vae: got a {type(network).__name__}, expected Hummingbird's: connect the VAE "
            "of Load Hummingbird"
        )


def flat_warning(images: Tensor, latent: Latent) -> str | None:
    """Return a warning if the frames are one flat color, else None."""
    if float(images.std()) >= FLAT_STD:
        return None
    spread = float(latent["samples"].std())
    return (
        f"The video is one flat colour. Its latents have a standard deviation of {spread:.3g}, "
        "usual values are 1 to 6: more steps, a lower LoRA strength, or the VAE of the same Load "
        "Hummingbird may help."
    )


def frame_rate(latent: Latent, fps: float) -> float:
    """Return `fps`, or if it is 0, the rate that the video was sampled for."""
    return fps or float(latent.get("frame_rate", DEFAULT_FPS))


def videos_of(images: Tensor, latent: Latent, fps: float) -> list[VideoFromComponents]:
    """Return one VIDEO per element of the batch, from the frames `decode` returned."""
    rate = Fraction(fps).limit_denominator(1001)
    clips = images.chunk(len(latent["samples"]))
    return [VideoFromComponents(VideoComponents(images=clip, frame_rate=rate)) for clip in clips]
