"""Trains the tiny KL-f8 VAE of the built-in model on single frames of moving shapes."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from . import shapes
from .loop import Schedule, train

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

BATCH = 16
KL_WEIGHT = 1e-6
LATENT_STD = 0.5


def build_vae() -> AutoencoderKL:
    """An untrained VAE of Stable Diffusion's layout (KL, 8x down, 4 channels), 0.7 M parameters."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(32, 32, 64, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=32,
    )


def train_vae(schedule: Schedule, folder: Path) -> AutoencoderKL:
    """Trains the VAE, then sets `scaling_factor` so that latents have the standard deviation
    `LATENT_STD`.

    Half of the usual unit deviation is on purpose: with less signal at the noisiest steps, the
    diffusion model cannot read the direction of motion off its noisy input and has to learn it
    from the text.
    """
    vae = build_vae()

    def loss(step: int) -> dict[str, Tensor]:
        frames = _frames(step)
        posterior = vae.encode(frames).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(step))
        decoded = vae.decode(posterior.mean + posterior.std * noise).sample
        return {
            "reconstruction": _reconstruction_loss(decoded, frames),
            "kl": KL_WEIGHT * posterior.kl().mean(),
        }

    ema = train("vae", vae, loss, schedule, folder)
    with torch.no_grad():
        latents = torch.cat([ema.encode(_frames(-step)).latent_dist.mean for step in range(1, 9)])
    ema.register_to_config(scaling_factor=LATENT_STD / latents.std().item())
    return ema


def _frames(seed: int) -> Tensor:
    """A batch of single frames `[BATCH, 3, H, W]` in -1..1."""
    scenes = islice(shapes.samples(seed, num_frames=1), BATCH)
    return torch.stack([shapes.render(scene)[:, 0] for scene, _ in scenes]) * 2 - 1


def _reconstruction_loss(decoded: Tensor, frames: Tensor) -> Tensor:
    """Squared and absolute error; the shape, a tenth of the picture, counts five times."""
    background = frames[:, :, :1, :1]
    weight = 1 + 4 * ((frames - background).abs().amax(1, keepdim=True) > 0.05)
    error = decoded - frames
    return (weight * (error.square() + 0.1 * error.abs())).mean()
