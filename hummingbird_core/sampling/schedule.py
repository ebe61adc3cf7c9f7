"""Stable Diffusion's noise schedule: 1000 steps, betas linear in their roots.

x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) eps, where a_t is `alphas_cumprod()[t]`, alpha its root and
sigma the root of 1 - a_t. A timestep `t` is an int, or a tensor `[B]` with one per video. All
arithmetic is done in at least fp32; results have the dtype of the sample.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..inputs.steps import (
    BETA_END,
    BETA_START,
    LATENT_SCALE,
    LATENT_SCALE_TIMESTEPS,
    TRAIN_TIMESTEPS,
)


class Tables:
    """Tables over timesteps, computed once and copied once to each device.

    Args:
        **tables: `[1000]` float64 on the CPU, by name.
    """

    def __init__(self, **tables: Tensor):
        self._tables = tables
        self._copies: dict[tuple[torch.device, torch.dtype], dict[str, Tensor]] = {}
        for dtype in (torch.float32, torch.float64):  # what the CPU computes in
            self._copy(torch.device("cpu"), dtype)

    def on(self, like: Tensor) -> dict[str, Tensor]:
        """Return the tables on the device of `like`, in its dtype or fp32, whichever is finer."""
        dtype = torch.promote_types(like.dtype, torch.float32)
        return self._copies.get((like.device, dtype)) or self._copy(like.device, dtype)

    def _copy(self, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
        # A tensor made in inference mode could not be used in training later.
        with torch.inference_mode(False):
            # Rounded on the CPU first: MPS has no float64.
            copy = {name: table.to(dtype).to(device) for name, table in self._tables.items()}
        self._copies[device, dtype] = copy
        return copy


def _alphas_cumprod() -> Tensor:
    # beta_t = (sqrt(b_0) + t / 999 (sqrt(b_999) - sqrt(b_0)))^2
    bounds = math.sqrt(BETA_START), math.sqrt(BETA_END)
    roots = torch.linspace(*bounds, TRAIN_TIMESTEPS, dtype=torch.float64, device="cpu")
    # a_t = (1 - beta_0) (1 - beta_1) ... (1 - beta_t)
    return torch.cumprod(1 - roots**2, dim=0)


def _latent_scale() -> Tensor:
    # s_t = 1 - 0.3 t / 399 up to t = 399, then 0.7
    ramp = torch.linspace(
        1.0, LATENT_SCALE, LATENT_SCALE_TIMESTEPS, dtype=torch.float64, device="cpu"
    )
    return torch.cat([ramp, ramp.new_full((TRAIN_TIMESTEPS - len(ramp),), LATENT_SCALE)])


_ALPHAS, _LATENT_SCALE = _alphas_cumprod(), _latent_scale()
_TABLES = Tables(
    alphas_cumprod=_ALPHAS,
    alpha=_ALPHAS.sqrt(),
    sigma=(1 - _ALPHAS).sqrt(),
    latent_scale=_LATENT_SCALE,
)


def alphas_cumprod(like: Tensor | None = None) -> Tensor:
    """Return a_t, the share of signal variance left after each timestep, `[1000]`.

    The betas are linear in their square roots from 0.00085 to 0.012 ("scaled linear", latent
    diffusion, arXiv 2112.10752).

    Args:
        like: sets device and dtype; default: float64 on the CPU.
    """
    return _ALPHAS if like is None else _TABLES.on(like)["alphas_cumprod"]


def latent_scale(like: Tensor | None = None) -> Tensor:
    """Return VideoCrafter2's factor on clean latents: 1.0 to 0.7 over t < 400, then 0.7, `[1000]`.

    Smaller latents mean a lower signal-to-noise ratio at high t. Used by the teacher and in
    distillation from it, not in consistency sampling.

    Args:
        like: as in `alphas_cumprod`.
    """
    return _LATENT_SCALE if like is None else _TABLES.on(like)["latent_scale"]


def extract(table: Tensor, t: Tensor | int, like: Tensor) -> Tensor:
    """Return entries `t` of a table `[1000]`, in fp32 or better, to be multiplied with `like`.

    Returns:
        `[B, 1, ..., 1]` (or 1 in place of B for a single t) on the device of `like`.
    """
    dtype = torch.promote_types(like.dtype, torch.float32)
    table = table.to(dtype).to(like.device)  # does nothing for a table of `Tables.on(like)`
    # An int needs no tensor on the device; a tensor stays where it is, so nothing waits for it.
    values = table[t : t + 1] if isinstance(t, int) else table[t.to(like.device).reshape(-1)]
    return values.reshape(-1, *[1] * (like.ndim - 1))  # [B] -> [B, 1, ..., 1]


def alpha_sigma(t: Tensor | int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return sqrt(a_t) and sqrt(1 - a_t), each to be multiplied with `like`."""
    tables = _TABLES.on(like)
    return extract(tables["alpha"], t, like), extract(tables["sigma"], t, like)


def add_noise(x0: Tensor, noise: Tensor, t: Tensor | int) -> Tensor:
    """Return noisy latents x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) noise, in the shape of `x0`."""
    # alpha^2 + sigma^2 = 1: x_t keeps unit variance if x_0 has it.
    alpha, sigma = alpha_sigma(t, x0)  # [B, 1, 1, 1, 1] each
    return (alpha * x0 + sigma * noise).to(x0.dtype)


def scale_latents(x0: Tensor, t: Tensor | int) -> Tensor:
    """Return clean latents as VideoCrafter2 trains on them: s_t x_0, s_t of `latent_scale`."""
    return (extract(latent_scale(x0), t, x0) * x0).to(x0.dtype)


def rescale_latents(x0: Tensor, t: Tensor | int, t_next: Tensor | int) -> Tensor:
    """Return clean latents scaled as at `t_next`, from those scaled as at `t`: x_0 s_next / s_t."""
    # A model knows s_t x_0 at t and s_next x_0 at t_next.
    scale = latent_scale(x0)
    return x0 * extract(scale, t_next, x0) / extract(scale, t, x0)


def predict_x0(sample: Tensor, eps: Tensor, t: Tensor | int) -> Tensor:
    """Return the clean latents of `sample` if `eps` is its noise; the inverse of `add_noise`."""
    alpha, sigma = alpha_sigma(t, sample)
    # x_0 = (x_t - sqrt(1 - a_t) eps) / sqrt(a_t)
    # sqrt(a_999) = 0.07: at the noisiest step, an error in eps counts 15 times in x_0.
    return ((sample - sigma * eps) / alpha).to(sample.dtype)
