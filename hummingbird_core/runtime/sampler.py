"""From noise to latents in numpy: the samplers of `sampling`, without torch.

Symbols as there: x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) eps, with Stable Diffusion's 1000 timesteps.
All arrays are float32; latents are `[1, 4, T, h, w]`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from ..inputs.steps import (
    BETA_END,
    BETA_START,
    LATENT_SCALE,
    LATENT_SCALE_TIMESTEPS,
    TRAIN_TIMESTEPS,
    check_steps,
    consistency_grid,
)

# (noisy latents, timestep) -> predicted noise, of the same shape
EpsModel = Callable[[np.ndarray, int], np.ndarray]


def _alphas_cumprod() -> np.ndarray:
    # beta_t = (sqrt(b_0) + t / 999 (sqrt(b_999) - sqrt(b_0)))^2, a_t = (1 - b_0) ... (1 - b_t)
    roots = np.linspace(math.sqrt(BETA_START), math.sqrt(BETA_END), TRAIN_TIMESTEPS)
    return np.cumprod(1 - roots**2)


def _latent_scale() -> np.ndarray:
    scale = np.full(TRAIN_TIMESTEPS, LATENT_SCALE)
    scale[:LATENT_SCALE_TIMESTEPS] = np.linspace(1, LATENT_SCALE, LATENT_SCALE_TIMESTEPS)
    return scale


_ALPHAS = _alphas_cumprod()
_ALPHA, _SIGMA = (table.astype(np.float32) for table in (_ALPHAS**0.5, (1 - _ALPHAS) ** 0.5))
_SCALE = _latent_scale().astype(np.float32)


def guidance_scale_embedding(w: float, dim: int) -> np.ndarray:
    """Embed a guidance scale as sinusoids of 1000 w (arXiv 2310.04378), `[1, dim]`."""
    half = dim // 2
    # f_i = 10000^(-i / (half - 1)), rounded as in training.
    exponents = np.arange(half, dtype=np.float32) * np.float32(-(math.log(10000.0) / (half - 1)))
    frequencies = np.exp(exponents.astype(np.float64)).astype(np.float32)
    angles = np.float32(1000 * np.float32(w)) * frequencies
    embedding = np.concatenate([np.sin(angles), np.cos(angles)])
    return np.pad(embedding, (0, dim % 2))[None]


def predict_x0(sample: np.ndarray, eps: np.ndarray, t: int) -> np.ndarray:
    """Return the clean latents of `sample` if `eps` is its noise."""
    return (sample - _SIGMA[t] * eps) / _ALPHA[t]


def consistency_function(sample: np.ndarray, eps: np.ndarray, t: int) -> np.ndarray:
    """Return the denoised latents f(x, t) = c_skip x + c_out x_0 (arXiv 2303.01469)."""
    u = 10.0 * t
    c_skip, c_out = 0.25 / (u**2 + 0.25), u / math.sqrt(u**2 + 0.25)
    return np.float32(c_skip) * sample + np.float32(c_out) * predict_x0(sample, eps, t)


def sample_lcm(
    predict_noise: EpsModel, latents: np.ndarray, noises: Iterator[np.ndarray], steps: int
) -> np.ndarray:
    """Sample by multistep consistency (arXiv 2303.01469, algorithm 1), as `sampling.sample_lcm`.

    Args:
        predict_noise: of the student, guidance included.
        latents: starting noise.
        noises: fresh noise for every step but the last.
        steps: 1 to 50.

    Returns:
        what the last step denoised, like `latents`.

    Raises:
        InputError: `steps` is out of range.
    """
    timesteps = consistency_grid(steps)
    for t, t_next in zip(timesteps, [*timesteps[1:], None], strict=True):
        denoised = consistency_function(latents, predict_noise(latents, t), t)
        if t_next is not None:
            # x_next = sqrt(a_next) f(x_t, t) + sqrt(1 - a_next) noise
            latents = _ALPHA[t_next] * denoised + _SIGMA[t_next] * next(noises)
    return denoised


def sample_ddim(
    predict_noise: EpsModel, latents: np.ndarray, steps: int, *, rescale: bool
) -> np.ndarray:
    """Sample by deterministic DDIM (arXiv 2010.02502), as `sampling.ddim.sample_ddim`.

    Args:
        predict_noise: of the teacher, guidance included.
        latents: starting noise.
        steps: 1 to 500.
        rescale: whether the model knows clean latents times VideoCrafter2's `latent_scale`.

    Returns:
        denoised latents, like `latents`.

    Raises:
        InputError: `steps` is out of range.
    """
    check_steps(steps, TRAIN_TIMESTEPS // 2)
    stride = TRAIN_TIMESTEPS // steps
    for t in range((steps - 1) * stride + 1, 0, -stride):
        t_next = max(t - stride, 0)
        eps = predict_noise(latents, t)
        x0 = predict_x0(latents, eps, t)
        if rescale:
            x0 = x0 * _SCALE[t_next] / _SCALE[t]  # x_0 <- x_0 s_next / s_t
        # x_next = sqrt(a_next) x_0 + sqrt(1 - a_next) eps
        latents = _ALPHA[t_next] * x0 + _SIGMA[t_next] * eps
    return latents
