"""Trains the tiny KL-f8 VAE of the built-in model on single frames of moving shapes.

Its latents are not its own choice: the encoder learns to give `picture_latents`, by a KL term
towards a normal distribution around them, and the decoder learns to paint frames from them.
"""

from __future__ import annotations

import math
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from . import shapes
from .latents import SCALING_FACTOR, picture_latents
from .loop import Schedule, seeded, share, train

if TYPE_CHECKING:
    from diffusers.models import AutoencoderKL
    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

BATCH = 16
POSTERIOR_STD = 0.03  # of the encoder, around the picture latents
KL_WEIGHT = 2e-4
# Deviation of the noise on what the decoder reads is drawn up to this: the U-Net's latents are not
# perfect either. Shapes can still be told apart at 0.1.
DECODER_NOISE = 0.12


def build_vae() -> AutoencoderKL:
    """An untrained VAE of Stable Diffusion's layout (KL, 8x down, 4 channels), 0.7 M parameters."""
    from diffusers.models import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(32, 32, 64, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=32,
        scaling_factor=SCALING_FACTOR,
    )


def train_vae(schedule: Schedule, folder: Path) -> AutoencoderKL:
    """Trains encoder and decoder; neither waits for the other, since the latents are given."""
    vae = build_vae()

    def loss(step: int, seed: int) -> dict[str, Tensor]:
        frames = _frames(seed)
        latents = picture_latents(frames)
        decoded = vae.decode(_perturbed(latents, seeded(seed))).sample
        posterior = vae.encode(frames).latent_dist
        return {
            "reconstruction": _reconstruction_loss(decoded, frames),
            "kl": KL_WEIGHT * _kl_to(latents, posterior),
        }

    return train("vae", vae, loss, schedule, folder)


def _perturbed(latents: Tensor, generator: torch.Generator) -> Tensor:
    std = DECODER_NOISE * torch.rand(len(latents), 1, 1, 1, generator=generator)
    return latents + std * torch.randn(latents.shape, generator=generator)


def _kl_to(latents: Tensor, posterior: DiagonalGaussianDistribution) -> Tensor:
    """Divergence of the posterior from N(latents, POSTERIOR_STD^2), mean over all numbers."""
    scale = POSTERIOR_STD**2
    distance = (posterior.mean - latents).square() / scale
    spread = posterior.var / scale - 1 - posterior.logvar + math.log(scale)
    return 0.5 * (distance + spread).mean()


def _frames(seed: int) -> Tensor:
    """A batch of single frames `[B, 3, H, W]` in -1..1."""
    scenes = islice(shapes.samples(seed, num_frames=1), share(BATCH))
    return torch.stack([shapes.render(scene)[:, 0] for scene, _ in scenes]) * 2 - 1


def _reconstruction_loss(decoded: Tensor, frames: Tensor) -> Tensor:
    """Squared and absolute error; the shape, a tenth of the picture, counts five times."""
    background = frames[:, :, :1, :1]
    weight = 1 + 4 * ((frames - background).abs().amax(1, keepdim=True) > 0.05)
    error = decoded - frames
    return (weight * (error.square() + 0.1 * error.abs())).mean()
