"""Stable Diffusion's noise schedule: 1000 steps, betas linear in their roots."""

from __future__ import annotations

import math

import torch
from torch import Tensor

TRAIN_TIMESTEPS = 1000
BETA_START, BETA_END = 0.00085, 0.012
LATENT_SCALE, LATENT_SCALE_TIMESTEPS = 0.7, 400


def alphas_cumprod() -> Tensor:
    """Share of signal variance left after each timestep, `[1000]` float64.

    The betas are linear in their square roots from 0.00085 to 0.012 ("scaled linear", latent
    diffusion, arXiv 2112.10752).
    """
    bounds = math.sqrt(BETA_START), math.sqrt(BETA_END)
    betas = torch.linspace(*bounds, TRAIN_TIMESTEPS, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, dim=0)


def latent_scale() -> Tensor:
    """VideoCrafter2's factor on clean latents, `[1000]` float64: 1.0 to 0.7 over t < 400, then 0.7.

    Smaller latents mean a lower signal-to-noise ratio at high t. Used by the teacher and in
    distillation from it, not in consistency sampling.
    """
    scale = torch.full((TRAIN_TIMESTEPS,), LATENT_SCALE, dtype=torch.float64)
    ramp = torch.linspace(1.0, LATENT_SCALE, LATENT_SCALE_TIMESTEPS, dtype=torch.float64)
    scale[:LATENT_SCALE_TIMESTEPS] = ramp
    return scale


def extract(table: Tensor, t: Tensor | int, like: Tensor) -> Tensor:
    """Entries `t` of a schedule table, in fp32 or better, to be multiplied with `like`.

    Returns:
        `[B, 1, ..., 1]` (or 1 in place of B for a single t) on the device of `like`.
    """
    dtype = torch.promote_types(like.dtype, torch.float32)
    index = torch.as_tensor(t).cpu().reshape(-1)  # a scalar tensor would not compile
    values = table[index].to(dtype).to(like.device)  # MPS has no float64
    return values.reshape(-1, *[1] * (like.ndim - 1))


def alpha_sigma(t: Tensor | int, like: Tensor) -> tuple[Tensor, Tensor]:
    """sqrt(a_t) and sqrt(1 - a_t), each to be multiplied with `like`."""
    alphas = alphas_cumprod()
    return extract(alphas.sqrt(), t, like), extract((1 - alphas).sqrt(), t, like)


def add_noise(x0: Tensor, noise: Tensor, t: Tensor | int) -> Tensor:
    """Noisy latents x_t = sqrt(a_t) x0 + sqrt(1 - a_t) noise, in the shape of `x0`."""
    signal, sigma = alpha_sigma(t, x0)
    return (signal * x0 + sigma * noise).to(x0.dtype)


def scale_latents(x0: Tensor, t: Tensor | int) -> Tensor:
    """Clean latents as VideoCrafter2 trains on them: `x0` times `latent_scale()[t]`."""
    return (extract(latent_scale(), t, x0) * x0).to(x0.dtype)


def rescale_latents(x0: Tensor, t: Tensor | int, t_next: Tensor | int) -> Tensor:
    """Clean latents that are scaled as at `t`, scaled as at `t_next`."""
    return x0 * extract(latent_scale(), t_next, x0) / extract(latent_scale(), t, x0)


def predict_x0(sample: Tensor, eps: Tensor, t: Tensor | int) -> Tensor:
    """The clean latents that `sample` comes from if `eps` is its noise; inverse of `add_noise`."""
    signal, sigma = alpha_sigma(t, sample)
    return ((sample - sigma * eps) / signal).to(sample.dtype)
