"""Training of the built-in model's tiny KL-f8 VAE on single frames of the synthetic dataset.

The latents are fixed in advance: the encoder learns to predict `image_latents`, by a KL term
towards a normal distribution around them, and the decoder learns to reconstruct frames from them.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from ...nano.latents import NANO_SCALING_FACTOR, image_latents
from ...nano.world.stream import single_frames
from ..loop.config import TrainConfig
from ..loop.micro_batch import MicroBatch
from ..loop.trainer import train

if TYPE_CHECKING:
    from diffusers.models import AutoencoderKL
    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

POSTERIOR_STD = 0.03  # std of the encoder's posterior around the image latents
KL_WEIGHT = 2e-4
# Largest std of the noise on the decoder's input, since the U-Net's latents are not perfect. Shapes
# are still recognizable at 0.1.
DECODER_NOISE = 0.12
ENCODED_STRIDE = 4  # encodes every 4th frame: averaging cells is learned long before decoding


def build_vae() -> AutoencoderKL:
    """Build an untrained VAE of Stable Diffusion's layout (KL, 8x down, 4 channels; 3.2 M).

    The layout has 32 groups in every norm. With one channel per group, the norm would remove the
    mean brightness, so no level is narrower than 64.
    """
    from diffusers.models import AutoencoderKL

    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(64, 64, 64, 128),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=32,
        scaling_factor=NANO_SCALING_FACTOR,
    )
    vae.register_to_config(latents_are_images=True)
    return vae


def train_vae(settings: TrainConfig, folder: Path) -> AutoencoderKL:
    """Train encoder and decoder independently, since the latents are fixed."""
    vae = build_vae()

    def loss(micro_batch: MicroBatch) -> dict[str, Tensor]:
        frames = single_frames(micro_batch.clip_seeds).to(vae.device)
        latents = image_latents(frames)
        decoded = vae.decode(perturbed(latents, DECODER_NOISE, micro_batch)).sample
        posterior = vae.encode(frames[::ENCODED_STRIDE]).latent_dist
        return {
            "reconstruction": _reconstruction_loss(decoded, frames),
            "kl": KL_WEIGHT * _kl_to(latents[::ENCODED_STRIDE], posterior),
        }

    return train("vae", vae, loss, settings, folder)


def perturbed(latents: Tensor, max_std: Tensor | float, micro_batch: MicroBatch) -> Tensor:
    """Return latents `[B, 4, h, w]` with noise; each std is drawn from 0..`max_std`."""
    noise, (shares,) = micro_batch.draw(latents.shape[1:], 1, latents.device)
    std = max_std * shares.reshape(-1, 1, 1, 1)  # [B] -> [B, 1, 1, 1]
    return latents + std * noise


def _kl_to(latents: Tensor, posterior: DiagonalGaussianDistribution) -> Tensor:
    """Return KL(posterior || N(latents, POSTERIOR_STD^2)), the mean over all elements."""
    scale = POSTERIOR_STD**2
    distance = (posterior.mean - latents).square() / scale
    spread = posterior.var / scale - 1 - posterior.logvar + math.log(scale)
    return 0.5 * (distance + spread).mean()


def _reconstruction_loss(decoded: Tensor, frames: Tensor) -> Tensor:
    """Return e^2 + 0.1 |e|; what differs from the left edge of its row counts five times.

    That is the subject, which never touches that edge. Of a place, it is also the skyline between
    its height there and in other columns: 7 % of the pixels without a subject, which hold
    the only edge of the background.
    """
    background = frames[..., :1]
    weight = 1 + 4 * ((frames - background).abs().amax(1, keepdim=True) > 0.05)
    error = decoded - frames
    return (weight * (error.square() + 0.1 * error.abs())).mean()
