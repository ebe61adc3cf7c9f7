"""From a LATENT to frames and a VIDEO, with a word on what went wrong if they show nothing."""

from __future__ import annotations

from fractions import Fraction

import comfy.sd
from comfy_api.input_impl import VideoFromComponents
from comfy_api.util import VideoComponents
from torch import Tensor

from ...hummingbird_core.errors import InputError
from ...hummingbird_core.vae import check_finite
from .autoencoder import FrameWiseAutoencoder
from .errors import absent
from .sampling import Latent, check_video_latent
from .unet import DEFAULT_FPS

FLAT = 1 / 255  # standard deviation below which nothing can be seen


def decode(vae: comfy.sd.VAE, latent: Latent) -> Tensor:
    """All frames of a LATENT as an IMAGE, `[B*T, H, W, 3]` in 0..1, one video after the other.

    Raises:
        InputError: the inputs are of another model.
        NumericalError: latents or frames hold NaN or infinity; says what the likely cause is.
    """
    check_vae(vae)
    check_video_latent(latent, vae.latent_channels, "samples")
    check_finite(latent["samples"], "latents")
    video = vae.decode(latent["samples"])
    check_finite(video, "frames")
    return video.flatten(0, 1)  # [B, T, H, W, 3] -> [B*T, H, W, 3]


def check_vae(vae: comfy.sd.VAE | None) -> None:
    """Raises InputError unless it is one of ours."""
    if vae is None:
        raise absent("vae")
    network = getattr(vae, "first_stage_model", None)
    if not isinstance(network, FrameWiseAutoencoder):
        raise InputError(
            f"input vae: got a {type(network).__name__}, expected Hummingbird's: connect the VAE "
            "of Load Hummingbird"
        )


def flat_warning(images: Tensor, latent: Latent) -> str | None:
    """Why nothing can be seen; None if something can."""
    if float(images.std()) >= FLAT:
        return None
    spread = float(latent["samples"].std())
    return (
        f"The video is one flat colour. Its latents have a standard deviation of {spread:.3g}, "
        "usual is 1 to 6: more steps, a lower LoRA strength, or the VAE of the same Load "
        "Hummingbird may help."
    )


def frame_rate(latent: Latent, fps: float) -> float:
    """`fps`, or if that is 0, the rate that the video was sampled for."""
    return fps or float(latent.get("frame_rate", DEFAULT_FPS))


def videos_of(images: Tensor, latent: Latent, fps: float) -> list[VideoFromComponents]:
    """A VIDEO for each of the batch, of what `decode` made of it."""
    rate = Fraction(fps).limit_denominator(1001)
    clips = images.chunk(len(latent["samples"]))
    return [VideoFromComponents(VideoComponents(images=clip, frame_rate=rate)) for clip in clips]
