"""From noise to video latents in few steps: consistency functions and their samplers.

Pure functions on tensors; no model, no state. Consistency sampling takes 1 to 50 steps, as in LCM
(arXiv 2310.04378) and T2V-Turbo (arXiv 2405.18750). The teacher's sampler is in `ddim`, the
symbols are those of `schedule`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..inputs.steps import CONSISTENCY_GRID, TRAIN_TIMESTEPS, consistency_grid
from .noise import step_noises
from .schedule import Tables, add_noise, alphas_cumprod, extract, predict_x0

GRID_STRIDE = TRAIN_TIMESTEPS // CONSISTENCY_GRID  # 20
BOUNDARY_SIGMA, BOUNDARY_TIMESTEP_SCALE = 0.5, 10.0  # s and u / t of `boundary_scalings`

NoiseSampler = Callable[[Tensor, Tensor], Tensor]
# (step's number, its timestep, latents after it) -> latents to go on with
OnStep = Callable[[int, int, Tensor], Tensor]


def consistency_timesteps(steps: int) -> Tensor:
    """Return the timesteps of `steps` consistency steps, falling, `[steps]` int64.

    See `consistency_grid`. For 4 steps: 999 759 519 279.

    Raises:
        InputError: `steps` is not an int from 1 to 50.
    """
    return torch.tensor(consistency_grid(steps))


def guidance_scale_embedding(w: Tensor, dim: int = 256) -> Tensor:
    """Embed guidance scales for the U-Net: sinusoids of 1000 w, sines first, then cosines.

    Follows LCM (arXiv 2310.04378, section 4.2). An odd `dim` ends with a zero.

    Args:
        w: guidance scales `[B]`; trained for 5 to 15.
        dim: width of the embedding, at least 4.

    Returns:
        `[B, dim]` float32 on the device of `w`.
    """
    half = dim // 2
    # f_i = 10000^(-i / (half - 1)), in fp32 as in training, each step rounded alike on every
    # machine: at angles of thousands, one rounding of a frequency (fp32 exp differs between
    # processors) shifts its sine by 4e-4.
    exponents = torch.arange(half) * -(math.log(10000.0) / (half - 1))
    frequencies = exponents.double().exp().float()
    # On the CPU, whatever the device of w: sines of large angles differ between devices.
    angles = (1000 * w.detach().to("cpu", torch.float32))[:, None] * frequencies[None]  # [B, half]
    # emb_i = sin(1000 w f_i), emb_(half + i) = cos(1000 w f_i)
    embedding = torch.cat([angles.sin(), angles.cos()], dim=1)  # [B, 2 half]
    return torch.nn.functional.pad(embedding, (0, dim % 2)).to(w.device)


def boundary_scalings() -> tuple[Tensor, Tensor]:
    """Return c_skip and c_out of every timestep, each `[1000]` float64.

    f(x, t) = c_skip x + c_out x_0 is the identity at t = 0, as a consistency function must be
    (arXiv 2303.01469, section 3).
    """
    # With s = 0.5 and u = 10 t: c_skip = s^2 / (u^2 + s^2), c_out = u / sqrt(u^2 + s^2).
    t = torch.arange(TRAIN_TIMESTEPS, dtype=torch.float64, device="cpu")
    u = BOUNDARY_TIMESTEP_SCALE * t
    variance = u**2 + BOUNDARY_SIGMA**2
    c_skip, c_out = BOUNDARY_SIGMA**2 / variance, u / variance.sqrt()
    # t = 0: c_skip = 1, c_out = 0. On the grid, t >= 19: c_skip < 7e-6, so f is almost x_0.
    return c_skip, c_out


_BOUNDARY = Tables(**dict(zip(("c_skip", "c_out"), boundary_scalings(), strict=True)))


def consistency_function(sample: Tensor, eps: Tensor, t: Tensor | int) -> Tensor:
    """Return the denoised latents f(sample, t) for a noise prediction `eps`, like `sample`."""
    # x_0 = (x_t - sqrt(1 - a_t) eps) / sqrt(a_t)
    return apply_boundary(predict_x0(sample, eps, t), sample, t)


def apply_boundary(x0: Tensor, sample: Tensor, t: Tensor | int) -> Tensor:
    """Return c_skip sample + c_out x_0, the consistency function for a prediction of x_0."""
    tables = _BOUNDARY.on(sample)
    # [1000] -> [B, 1, 1, 1, 1] each
    c_skip, c_out = (extract(tables[name], t, sample) for name in ("c_skip", "c_out"))
    # f(x, t) = c_skip x + c_out x_0
    return (c_skip * sample + c_out * x0).to(sample.dtype)


def consistency_step(
    sample: Tensor, eps: Tensor, t: Tensor | int, t_next: Tensor | int, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """Take one step of multistep consistency sampling (arXiv 2303.01469, algorithm 1).

    Args:
        sample: latents at `t`, `[B, 4, T, H, W]`.
        eps: the noise predicted in them.
        t: their timestep.
        t_next: a lower timestep.
        noise: fresh N(0, 1) noise of the same shape.

    Returns:
        latents at `t_next`, and the denoised latents (after the last step: the result).
    """
    denoised = consistency_function(sample, eps, t)
    # x_next = sqrt(a_next) f(x_t, t) + sqrt(1 - a_next) noise
    return add_noise(denoised, noise, t_next), denoised


def _multistep(
    x: Tensor,
    steps: Iterable[int],
    denoise: Callable[[Tensor, int], Tensor],
    add_noise: Callable[[Tensor, int], Tensor | None],
) -> Tensor:
    """Denoise and add noise in turn (arXiv 2303.01469, algorithm 1); end with a denoising.

    Args:
        x: noisy latents.
        steps: numbers of the steps, 0, 1, ...
        denoise: `denoise(x, i)` is the consistency function of step i.
        add_noise: `add_noise(denoised, i)` goes to the noise level of step i + 1; None: no more.
    """
    denoised = x
    for i in steps:
        denoised = denoise(x, i)  # f(x_t, t)
        noisy = add_noise(denoised, i)  # x_t at the next t
        x = denoised if noisy is None else noisy
    return denoised


def sample_lcm(
    predict_noise: Callable[[Tensor, int], Tensor],
    latents: Tensor,
    noises: Iterable[Tensor],
    steps: int,
    on_step: OnStep | None = None,
) -> Tensor:
    """Sample by multistep consistency from predictions of the noise.

    Args:
        predict_noise: `predict_noise(sample, t)` gives the noise.
        latents: starting noise `[B, 4, T, H, W]`.
        noises: fresh noise for the steps, like `latents`; the last step needs none.
        steps: 1 to 50.
        on_step: called after each step with the noisy latents for the next one, and after the last
            step with the denoised; its result takes their place.

    Returns:
        what the last step denoised, like `latents`.

    Raises:
        InputError: `steps` is out of range, or `noises` ends too early.
    """
    timesteps, remaining = consistency_timesteps(steps).tolist(), iter(noises)
    on_step = on_step or keep_latents

    def denoise(x: Tensor, i: int) -> Tensor:
        t = timesteps[i]
        return consistency_function(x, predict_noise(x, t), t)

    def noisy(denoised: Tensor, i: int) -> Tensor | None:
        # The last f(x_t, t) is the result; each earlier one gets fresh noise, not the predicted.
        if i + 1 == steps:
            return None
        noise, t_next = next(remaining, None), timesteps[i + 1]
        if noise is None:
            raise InputError(f"got no noise for t = {t_next}, expected {steps - 1}: give more")
        return on_step(i, timesteps[i], add_noise(denoised, noise.to(denoised), t_next))

    denoised = _multistep(latents, range(steps), denoise, noisy)
    return on_step(steps - 1, timesteps[-1], denoised)


def keep_latents(index: int, t: int, latents: Tensor) -> Tensor:
    """Return the latents: the `OnStep` that changes nothing."""
    return latents


def sample_lcm_kdiffusion(
    model: Callable[..., Tensor],
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Callable[[dict[str, Any]], None] | None = None,
    disable: bool | None = None,
    noise_sampler: NoiseSampler | None = None,
) -> Tensor:
    """Sample by multistep consistency as a k-diffusion sampler, with the steps of `sample_lcm`.

    k-diffusion's latents are "variance exploding": x = x_t / sqrt(a_t) = x_0 + sigma eps.

    Args:
        model: `model(x, sigma [B], **extra_args)` gives the denoised latents x_0.
        x: noisy latents at `sigmas[0]`, `[B, 4, T, H, W]`: pure noise times sqrt(1 + sigma^2).
        sigmas: `consistency_sigmas(steps)`, or any falling sequence that ends with 0.
        extra_args: more arguments of `model`; its "seed" seeds the default noise, else torch does.
        callback: called with `x, i, sigma, sigma_hat, denoised` of each step.
        disable: hides the progress bar.
        noise_sampler: `noise_sampler(sigma, sigma_next)` gives noise like `x`.

    Returns:
        denoised latents, in the shape of `x`.
    """
    from tqdm.auto import trange

    extra_args = extra_args or {}
    noise_sampler = noise_sampler or default_noise_sampler(x, extra_args.get("seed"))
    levels = sigmas.tolist()  # once: each later look at a value would wait for the device

    def denoise(x: Tensor, i: int) -> Tensor:
        sigma = sigmas[i]
        # k-diffusion's model converts eps to x_0 itself.
        x0 = model(x, sigma.expand(x.shape[0]), **extra_args)
        # x_t = x sqrt(a_t), and a_t = 1 / (1 + sigma^2)
        denoised = apply_boundary(x0, x / (1 + sigma**2).sqrt(), timestep_of_sigma(levels[i]))
        if callback is not None:
            step = {"x": x, "i": i, "sigma": sigma, "sigma_hat": sigma, "denoised": denoised}
            callback(step)
        return denoised

    def noisy(denoised: Tensor, i: int) -> Tensor | None:
        if levels[i + 1] == 0:
            return None
        # x = x_0 + sigma noise
        return denoised + sigmas[i + 1] * noise_sampler(sigmas[i], sigmas[i + 1]).to(denoised)

    return _multistep(x, trange(len(sigmas) - 1, disable=disable), denoise, noisy)


def consistency_sigmas(steps: int) -> Tensor:
    """Return the sigmas sqrt((1 - a) / a) of `consistency_timesteps`, then 0, `[steps + 1]` fp32.

    Raises:
        InputError: `steps` is not an int from 1 to 50.
    """
    sigmas = _sigma_table()[consistency_timesteps(steps)]
    # The 0 ends the sequence in k-diffusion: after the last step no noise is left.
    return torch.cat([sigmas, sigmas.new_zeros(1)]).float()


def default_noise_sampler(x: Tensor, seed: int | None) -> NoiseSampler:
    """Return a step-noise sampler like `x`; without a seed, one is drawn from torch."""
    if seed is None:
        seed = int(torch.randint(2**63 - 1, ()))
    noises = step_noises(tuple(x.shape), seed)
    return lambda sigma, sigma_next: next(noises)


def timestep_of_sigma(sigma: Tensor | float) -> int:
    """Return the timestep whose k-diffusion sigma is nearest, by ratio."""
    # argmin_t |ln sigma_t - ln sigma|
    return int((_sigma_table().log() - math.log(float(sigma))).abs().argmin())


def _sigma_table() -> Tensor:
    """Return k-diffusion's sigma of every timestep, sqrt((1 - a_t) / a_t), `[1000]` float64."""
    # x_t / sqrt(a_t) = x_0 + sigma_t eps
    alphas = alphas_cumprod()
    return ((1 - alphas) / alphas).sqrt()
