"""Trains the tiny KL-f8 VAE of the built-in model on single frames of its world.

Its latents are not its own choice: the encoder learns to give `picture_latents`, by a KL term
towards a normal distribution around them, and the decoder learns to paint frames from them.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from ...nano.latents import NANO_SCALING_FACTOR, image_latents
from ...nano.world.world import single_frames
from ..loop.config import TrainConfig
from ..loop.micro_batch import MicroBatch
from ..loop.trainer import train

if TYPE_CHECKING:
    from diffusers.models import AutoencoderKL
    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

POSTERIOR_STD = 0.03  # of the encoder, around the picture latents
KL_WEIGHT = 2e-4
# Deviation of the noise on what the decoder reads is drawn up to this: the U-Net's latents are not
# perfect either. Shapes can still be told apart at 0.1.
DECODER_NOISE = 0.12
ENCODED_SHARE = 4  # one frame in so many: averaging cells is learned long before painting pictures


def build_vae() -> AutoencoderKL:
    """An untrained VAE of Stable Diffusion's layout (KL, 8x down, 4 channels), 3.2 M parameters.

    That layout has 32 groups in every norm. With a single channel in each, norms would take away
    how bright it is on average, so no level is narrower than 64.
    """
    from diffusers.models import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(64, 64, 64, 128),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=32,
        scaling_factor=NANO_SCALING_FACTOR,
    )


def train_vae(settings: TrainConfig, folder: Path) -> AutoencoderKL:
    """Trains encoder and decoder; neither waits for the other, since the latents are given."""
    vae = build_vae()

    def loss(micro_batch: MicroBatch) -> dict[str, Tensor]:
        frames = single_frames(micro_batch.clip_seeds).to(vae.device)
        latents = image_latents(frames)
        decoded = vae.decode(perturbed(latents, DECODER_NOISE, micro_batch)).sample
        posterior = vae.encode(frames[::ENCODED_SHARE]).latent_dist
        return {
            "reconstruction": _reconstruction_loss(decoded, frames),
            "kl": KL_WEIGHT * _kl_to(latents[::ENCODED_SHARE], posterior),
        }

    return train("vae", vae, loss, settings, folder)


def perturbed(latents: Tensor, most: Tensor | float, micro_batch: MicroBatch) -> Tensor:
    """Latents `[B, 4, h, w]` with noise, whose deviation is drawn up to `most` for each of them."""
    noise, (shares,) = micro_batch.draw(latents.shape[1:], 1, latents.device)
    std = most * shares.reshape(-1, 1, 1, 1)  # [B] -> [B, 1, 1, 1]
    return latents + std * noise


def _kl_to(latents: Tensor, posterior: DiagonalGaussianDistribution) -> Tensor:
    """Divergence of the posterior from N(latents, POSTERIOR_STD^2), mean over all numbers."""
    scale = POSTERIOR_STD**2
    distance = (posterior.mean - latents).square() / scale
    spread = posterior.var / scale - 1 - posterior.logvar + math.log(scale)
    return 0.5 * (distance + spread).mean()


def _reconstruction_loss(decoded: Tensor, frames: Tensor) -> Tensor:
    """Squared and absolute error; the subject, a tenth of the picture, counts five times."""
    background = frames[..., :1]  # of each row: subjects never touch the left edge
    weight = 1 + 4 * ((frames - background).abs().amax(1, keepdim=True) > 0.05)
    error = decoded - frames
    return (weight * (error.square() + 0.1 * error.abs())).mean()
