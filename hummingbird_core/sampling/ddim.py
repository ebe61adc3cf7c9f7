"""DDIM (arXiv 2010.02502) with classifier-free guidance, as the teacher VideoCrafter2 samples.

Pure functions on tensors, with the schedule and the symbols of `sampling`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from ..errors import InputError
from ..inputs.steps import TRAIN_TIMESTEPS, check_steps
from .consistency import OnStep, keep_latents
from .schedule import alphas_cumprod, extract, predict_x0, rescale_latents


def ddim_timesteps(steps: int) -> Tensor:
    """Return evenly spaced timesteps of DDIM, falling, `[steps]` int64; 5: 801 601 401 201 1.

    Raises:
        InputError: `steps` is not an int from 1 to 500.
    """
    check_steps(steps, TRAIN_TIMESTEPS // 2)
    # 1000 // steps apart, from 1 on: t_i = i (1000 // steps) + 1, the noisiest first
    return (torch.arange(steps) * (TRAIN_TIMESTEPS // steps) + 1).flip(0)


def classifier_free_guidance(eps_cond: Tensor, eps_uncond: Tensor, scale: float | Tensor) -> Tensor:
    """Return eps_uncond + scale (eps_cond - eps_uncond) (arXiv 2207.12598).

    A tensor `scale` broadcasts.
    """
    # The same as cond + w (cond - uncond) of the students with w = scale - 1.
    return eps_uncond + scale * (eps_cond - eps_uncond)


def ddim_step(
    x0: Tensor,
    eps: Tensor,
    t: Tensor | int,
    t_next: Tensor | int,
    *,
    eta: float = 0.0,
    noise: Tensor | None = None,
    rescale: bool = False,
) -> Tensor:
    """Take one DDIM step (arXiv 2010.02502, equation 12) from predictions of x_0 and of the noise.

    diffusers' `DDIMScheduler` gives the same values without `rescale`; it can't rescale, nor take
    another t for each video of a batch, which consistency distillation needs.

    Args:
        x0: predicted clean latents `[B, 4, T, H, W]`.
        eps: predicted noise.
        t: timestep of the predictions.
        t_next: lower timestep to go to.
        eta: 0 for the deterministic step, 1 for the variance of DDPM.
        noise: fresh noise, needed unless `eta` is 0.
        rescale: whether the model knows clean latents times VideoCrafter2's `latent_scale`.

    Returns:
        latents at `t_next`.
    """
    alphas = alphas_cumprod(x0)  # [1000]
    a, a_next = extract(alphas, t, x0), extract(alphas, t_next, x0)  # [B, 1, 1, 1, 1]
    # Standard deviation of the fresh noise; 0 makes the step deterministic (equation 16):
    # sigma = eta sqrt((1 - a_next) / (1 - a)) sqrt(1 - a / a_next)
    sigma = eta * ((1 - a_next) / (1 - a) * (1 - a / a_next)).sqrt()
    # x_0 <- x_0 s_next / s_t
    if rescale:
        x0 = rescale_latents(x0, t, t_next)
    # x_next = sqrt(a_next) x_0 + sqrt(1 - a_next - sigma^2) eps + sigma noise
    sample = a_next.sqrt() * x0 + (1 - a_next - sigma**2).sqrt() * eps
    return sample if noise is None else sample + sigma * noise


def sample_ddim(
    predict_noise: Callable[[Tensor, int], Tensor],
    sample: Tensor,
    steps: int = 50,
    *,
    eta: float = 0.0,
    noises: Iterable[Tensor] = (),
    rescale: bool = True,
    on_step: OnStep | None = None,
) -> Tensor:
    """Sample as VideoCrafter2 does.

    Args:
        predict_noise: `predict_noise(sample, t)` gives the noise, guidance included.
        sample: starting noise `[B, 4, T, H, W]`.
        steps: 1 to 500.
        eta: 0 for the deterministic sampler; VideoCrafter2's own setting is 1.
        noises: one fresh noise a step, such as `step_noises(...)`; needed unless `eta` is 0.
        rescale: as in `ddim_step`; VideoCrafter2 needs it.
        on_step: called after each step with its latents; its result takes their place.

    Returns:
        denoised latents, in the shape of `sample`.

    Raises:
        InputError: `steps` is out of range, or `noises` ends too early.
    """
    remaining, on_step = iter(noises), on_step or keep_latents
    # x_T = sample; T > ... > t > t_next > ... > 0
    for i, t in enumerate(ddim_timesteps(steps).tolist()):
        eps = predict_noise(sample, t)
        # eta = 0 takes no noise, so that the stream may be empty.
        noise = next(remaining, None) if eta else None
        if eta and noise is None:
            raise InputError(
                f"got no noise for t = {t}, expected one a step with eta {eta}: give more"
            )
        # The last step goes to t = 0, where sqrt(1 - a_0) = 0.03 of the noise is left.
        t_next = max(t - TRAIN_TIMESTEPS // steps, 0)
        # x_0 = (x_t - sqrt(1 - a_t) eps) / sqrt(a_t)
        x0 = predict_x0(sample, eps, t)
        # The arithmetic is in fp32 at least; the sample goes on in its dtype.
        noise = None if noise is None else noise.to(sample)
        stepped = ddim_step(x0, eps, t, t_next, eta=eta, noise=noise, rescale=rescale)
        sample = on_step(i, t, stepped.to(sample.dtype))
    return sample
