"""How clips are made noisy for training: at which timesteps, with what left of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ...errors import InputError
from ...sampling.consistency import (
    CONSISTENCY_GRID,
    GRID_STRIDE,
    check_steps,
    consistency_timesteps,
)
from ...sampling.schedule import TRAIN_TIMESTEPS, add_noise, alpha_sigma, scale_latents

LAST_STEP = TRAIN_TIMESTEPS - 1
BELOW_ONE = 1 - 2**-20
# Of the timesteps, low and high end as shares of all; clips are as often in each of these. A small
# model learns colours and motion at high noise (docs/what-nano-needed.md), edges at low noise.
TIMESTEP_BINS = ((1.0, 1.0), (0.9, 1.0), *[(0.4, 0.9)] * 2, *[(0.2, 0.6)] * 2, *[(0.0, 0.4)] * 2)


@dataclass(frozen=True)
class NoiseConfig:
    """How clips are made noisy, and how strongly the teacher is guided.

    Args:
        samples: "data", noisy clips; "student", what the student makes itself of noise in some of
            its sampling steps, so that it learns at what it will meet (on-policy distillation,
            arXiv 2306.13649). Of the clips only size, captions and frame rates count then.
        timesteps: of noisy clips: "uniform" over 0..999; "grid", the 50 of consistency
            distillation; "slots", those of `TIMESTEP_BINS`, of which an eighth is the last one.
        sampling_share: of the clips that are at a timestep of the student's sampling instead.
        sampling_steps: how many steps that sampling takes.
        guidance: range of w in cond + w (cond - uncond). Guidance by uncond + s (cond - uncond), as
            in VideoCrafter2, is w = s - 1. From a range the student is told its w; a single value
            is baked in, and the student is told nothing.
        guided_from: lowest timestep at which the teacher is guided at all (arXiv 2404.07724).
        latent_scale: whether clean latents are scaled from 1.0 to 0.7 over t < 400, as
            VideoCrafter2 knows them.
        pure_last_step: whether nothing is left of the clip at t = 999, as when sampling starts.
        picture_range: whether the guided teacher's clips are held in the range of pictures, for
            latents that are pictures (nano).
    """

    samples: Literal["data", "student"] = "data"
    timesteps: Literal["uniform", "grid", "slots"] = "uniform"
    sampling_share: float = 0.0
    sampling_steps: int = 4
    guidance: tuple[float, float] = (5.0, 15.0)
    guided_from: int = 0
    latent_scale: bool = False
    pure_last_step: bool = False
    picture_range: bool = False

    def __post_init__(self) -> None:
        low, high = self.guidance
        if not 0 <= low <= high:
            raise InputError(f"got guidance {low} to {high}, expected 0 or more, the lower first")
        if not 0 <= self.sampling_share < 1:
            raise InputError(f"got sampling_share {self.sampling_share}, expected 0 to below 1")
        check_steps(self.sampling_steps, CONSISTENCY_GRID)

    @property
    def tells_guidance(self) -> bool:
        return self.guidance[0] < self.guidance[1]

    def noisy(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Clean latents `[B, 4, T, h, w]` with noise, as at timesteps `t` `[B]`."""
        clean = scale_latents(latents, t) if self.latent_scale else latents
        return noisy_sample(clean, noise, t) if self.pure_last_step else add_noise(clean, noise, t)


def draw_timesteps(u: Tensor, settings: NoiseConfig) -> Tensor:
    """Timesteps of noisy clips, for numbers `u` `[B]` evenly spread over 0 to below 1."""
    share = settings.sampling_share
    others = _timesteps(_stretched(u - share, 1 - share), settings.timesteps)
    if not share:
        return others
    own = sampling_timesteps(_stretched(u, share), settings.sampling_steps)
    return torch.where(u < share, own, others)


def _stretched(u: Tensor, length: float) -> Tensor:
    """Numbers in 0..length to 0..1; those outside to its ends."""
    return (u / length).clamp(0, BELOW_ONE)


def _timesteps(u: Tensor, kind: str) -> Tensor:
    if kind == "grid":
        return grid_timesteps(u)
    return uniform_timesteps(into_bins(u) if kind == "slots" else u)


def uniform_timesteps(u: Tensor) -> Tensor:
    """Timesteps 0 to 999, `[B]`, for numbers from 0 to 1."""
    return (TRAIN_TIMESTEPS * u).long().clamp(max=LAST_STEP)


def grid_timesteps(u: Tensor, low: int = 0, high: int = CONSISTENCY_GRID) -> Tensor:
    """Timesteps low, ..., high - 1 of the consistency grid, `[B]`, for numbers in 0..1."""
    index = low + ((high - low) * u).long()
    return GRID_STRIDE * (index + 1) - 1


def sampling_timesteps(u: Tensor, steps: int) -> Tensor:
    """Timesteps of so many sampling steps, `[B]`, for numbers in 0..1; from the noisiest on."""
    return consistency_timesteps(steps).to(u.device)[(steps * u).long()]


def into_bins(u: Tensor) -> Tensor:
    """Numbers evenly spread over 0..1, moved into `TIMESTEP_BINS`."""
    # By the number itself, not dealt out by a clip's place in the batch: a process with few clips
    # would never see the slots that it does not reach.
    slots = torch.tensor(TIMESTEP_BINS, device=u.device)
    scaled = len(TIMESTEP_BINS) * u
    low, high = slots[scaled.long().clamp(max=len(TIMESTEP_BINS) - 1)].unbind(-1)
    return low + (high - low) * scaled.frac()


def noisy_sample(latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """`add_noise`, but at the last step nothing of the latents is left, as when sampling starts."""
    is_last = (t == LAST_STEP).reshape(-1, 1, 1, 1, 1)  # [B] -> [B, 1, 1, 1, 1]
    return torch.where(is_last, noise, add_noise(latents, noise, t))


def noise_between(latents: Tensor, sample: Tensor, t: Tensor) -> Tensor:
    """The noise prediction that leads from `sample` to `latents`; the inverse of `predict_x0`."""
    signal, sigma = alpha_sigma(t, sample)
    return (sample - signal * latents) / sigma
