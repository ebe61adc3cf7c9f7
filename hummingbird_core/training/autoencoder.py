"""Trains the tiny KL-f8 VAE of the built-in model on single frames of moving shapes."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from . import shapes
from .loop import Schedule, seeded, share, train

if TYPE_CHECKING:
    from diffusers.models import AutoencoderKL
    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

BATCH = 16
KL_WEIGHT = 1e-6
DECODER_NOISE = 0.04  # standard deviation, where that of latents is 1
FIRST_DECODER_SEED = 1_000_000  # frames that `train_vae` has not seen


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
    )


def train_vae(schedule: Schedule, folder: Path) -> AutoencoderKL:
    """Trains encoder and decoder, and sets `scaling_factor` to give latents unit deviation."""
    vae = build_vae()

    def loss(step: int, seed: int) -> dict[str, Tensor]:
        frames = _frames(seed)
        posterior = vae.encode(frames).latent_dist
        decoded = vae.decode(_sample(posterior, seed)).sample
        return {
            "reconstruction": _reconstruction_loss(decoded, frames),
            "kl": KL_WEIGHT * posterior.kl().mean(),
        }

    ema = train("vae", vae, loss, schedule, folder)
    with torch.no_grad():
        latents = torch.cat([ema.encode(_frames(-step)).latent_dist.mean for step in range(1, 9)])
    ema.register_to_config(scaling_factor=1 / latents.std().item())
    return ema


def train_decoder(vae: AutoencoderKL, schedule: Schedule, folder: Path) -> AutoencoderKL:
    """Trains the decoder on, for latents that stay as they are: the U-Net can learn meanwhile.

    Latents get a little noise, since those of the U-Net are not perfect either.
    """
    vae.requires_grad_(True)
    vae.encoder.requires_grad_(False)
    vae.quant_conv.requires_grad_(False)
    noise_std = DECODER_NOISE / vae.config["scaling_factor"]

    def loss(step: int, seed: int) -> dict[str, Tensor]:
        frames = _frames(FIRST_DECODER_SEED + seed)
        with torch.no_grad():
            latents = vae.encode(frames).latent_dist.mean
        latents = latents + noise_std * torch.randn(latents.shape, generator=seeded(seed))
        return {"reconstruction": _reconstruction_loss(vae.decode(latents).sample, frames)}

    return train("decoder", vae, loss, schedule, folder)


def _sample(posterior: DiagonalGaussianDistribution, seed: int) -> Tensor:
    noise = torch.randn(posterior.mean.shape, generator=seeded(seed))
    return posterior.mean + posterior.std * noise


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
