"""Noisy clips for training: the timesteps they are drawn at and the noise added to them.

Symbols, as in `sampling.schedule`: x_t = alpha_t x_0 + sigma_t eps with alpha_t = sqrt(a_t) and
sigma_t = sqrt(1 - a_t). Shapes: B clips of T frames, latents `[B, 4, T, h, w]`, timesteps `[B]`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ...errors import InputError
from ...inputs.steps import CONSISTENCY_GRID, check_steps
from ...sampling.consistency import GRID_STRIDE, consistency_timesteps
from ...sampling.schedule import TRAIN_TIMESTEPS, add_noise, alpha_sigma, scale_latents

LAST_TIMESTEP = TRAIN_TIMESTEPS - 1
BELOW_ONE = 1 - 2**-20
# Low and high ends as shares of all timesteps; every bin holds an equal share of the clips. A small
# model learns color and motion at high noise (docs/notes/what-nano-needed.md), edges at low noise.
TIMESTEP_BINS = ((1.0, 1.0), (0.9, 1.0), *[(0.4, 0.9)] * 2, *[(0.2, 0.6)] * 2, *[(0.0, 0.4)] * 2)


@dataclass(frozen=True)
class NoiseConfig:
    """Settings of the noise on clips, and of the teacher's guidance.

    Args:
        samples: "data", noisy clips; "on_policy", the student's own samples after some of its
            sampling steps, so that it learns on the inputs it will meet (on-policy distillation,
            arXiv 2306.13649); "teacher_path", states on the teacher's paths from pure noise, see
            `paths`. Only size, captions and frame rates of the clips count then.
        timesteps: of noisy clips: "uniform" over 0..999; "grid", the 50 of consistency
            distillation; "bins", those of `TIMESTEP_BINS`, of which an eighth is the last one.
        sampling_share: share of the clips at a timestep of the student's sampling instead.
        sampling_steps: number of steps of that sampling.
        mixed_steps: several such numbers, for "on_policy": the training steps take them in turn, so
            that one student serves all of them. Empty: `sampling_steps` alone.
        guidance: range of w in cond + w (cond - uncond). Guidance by uncond + s (cond - uncond), as
            in VideoCrafter2, is w = s - 1. With a range, the student is conditioned on its w; a
            single value is baked in, without a guidance input.
        cfg_start_timestep: lowest timestep at which the teacher is guided.
        cfg_stop_timestep: lowest timestep above those that are guided; 1000 guides from pure noise
            on. Guidance where size, place and speed are decided takes their variety, and a student
            keeps what its teacher has left (interval guidance, arXiv 2404.07724).
        dynamic_rescale: scale clean latents by 1.0 down to 0.7 over t < 400, as VideoCrafter2 does.
        zero_terminal_snr: leave nothing of the clip at t = 999, where sampling starts from pure
            noise (arXiv 2305.08891).
        clip_denoised: clamp the guided teacher's x_0 to the range of images, for latents that are
            images (nano).
    """

    samples: Literal["data", "on_policy", "teacher_path"] = "data"
    timesteps: Literal["uniform", "grid", "bins"] = "uniform"
    sampling_share: float = 0.0
    sampling_steps: int = 4
    mixed_steps: tuple[int, ...] = ()
    guidance: tuple[float, float] = (5.0, 15.0)
    cfg_start_timestep: int = 0
    cfg_stop_timestep: int = TRAIN_TIMESTEPS
    dynamic_rescale: bool = False
    zero_terminal_snr: bool = False
    clip_denoised: bool = False

    def __post_init__(self) -> None:
        low, high = self.guidance
        if not 0 <= low <= high:
            raise InputError(f"got guidance {low} to {high}, expected 0 or more, the lower first")
        if not 0 <= self.sampling_share < 1:
            raise InputError(f"got sampling_share {self.sampling_share}, expected 0 to below 1")
        for steps in (self.sampling_steps, *self.mixed_steps):
            check_steps(steps, CONSISTENCY_GRID)
        interval = self.guided_timesteps
        if not 0 <= interval.start <= interval.stop <= TRAIN_TIMESTEPS:
            raise InputError(
                f"got cfg_start_timestep {interval.start} and cfg_stop_timestep {interval.stop}, "
                f"expected 0 to {TRAIN_TIMESTEPS}, the lower first"
            )

    def rollout_steps(self, step: int) -> int:
        """Return the number of sampling steps of the student in a training step."""
        choices = self.mixed_steps or (self.sampling_steps,)
        return choices[step % len(choices)]

    @property
    def guided_timesteps(self) -> range:
        """Return the timesteps at which the teacher is guided."""
        return range(self.cfg_start_timestep, self.cfg_stop_timestep)

    @property
    def condition_on_guidance(self) -> bool:
        """Return whether the student gets w as an input: only if w varies."""
        return self.guidance[0] < self.guidance[1]

    def scaled(self, latents: Tensor, t: Tensor) -> Tensor:
        """Return clean latents `[B, 4, T, h, w]` as the teacher knows them at `t` `[B]`."""
        # x_0 <- s_t x_0 where the teacher was trained on rescaled latents.
        return scale_latents(latents, t) if self.dynamic_rescale else latents

    def noisy(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return x_t of clean latents `[B, 4, T, h, w]` at timesteps `t` `[B]`."""
        add = add_noise_zero_snr if self.zero_terminal_snr else add_noise
        return add(self.scaled(latents, t), noise, t)


def draw_timesteps(u: Tensor, settings: NoiseConfig) -> Tensor:
    """Return timesteps `[B]` of noisy clips for numbers `u` `[B]`, uniform in [0, 1).

    A share p of the clips is at the student's sampling timesteps, the others follow
    `settings.timesteps`.
    """
    # One number decides both, by disjoint intervals of u.
    p = settings.sampling_share
    # u in [p, 1) -> (u - p) / (1 - p) in [0, 1)
    others = _spread_timesteps(_unit_interval(u - p, 1 - p), settings.timesteps)
    if not p:
        return others
    # u in [0, p) -> u / p in [0, 1)
    own = sampling_timesteps(_unit_interval(u, p), settings.sampling_steps)
    return torch.where(u < p, own, others)


def _unit_interval(u: Tensor, length: float) -> Tensor:
    """Map numbers in [0, length) to [0, 1), clamping those outside."""
    return (u / length).clamp(0, BELOW_ONE)


def _spread_timesteps(u: Tensor, kind: str) -> Tensor:
    if kind == "grid":
        return grid_timesteps(u)
    return uniform_timesteps(into_bins(u) if kind == "bins" else u)


def uniform_timesteps(u: Tensor) -> Tensor:
    """Return timesteps 0 to 999 `[B]` for numbers `u` `[B]` in 0..1."""
    # t = floor(1000 u), at most 999
    return (TRAIN_TIMESTEPS * u).long().clamp(max=LAST_TIMESTEP)


def grid_timesteps(u: Tensor, low: int = 0, high: int = CONSISTENCY_GRID) -> Tensor:
    """Return timesteps number low to high - 1 of the consistency grid, `[B]`, for `u` in 0..1."""
    # t_n = 20 (n + 1) - 1 with n = low + floor((high - low) u): 19, 39, ..., 999
    n = low + ((high - low) * u).long()
    return GRID_STRIDE * (n + 1) - 1


def sampling_timesteps(u: Tensor, steps: int) -> Tensor:
    """Return timesteps of `steps` sampling steps, `[B]`, noisiest first, for `u` in 0..1."""
    return consistency_timesteps(steps).to(u.device)[(steps * u).long()]


def into_bins(u: Tensor) -> Tensor:
    """Move numbers `[B]`, uniform in 0..1, into `TIMESTEP_BINS`."""
    # The number itself chooses the bin, not the clip's index in the batch: a process with few clips
    # would never reach some bins.
    bins = torch.tensor(TIMESTEP_BINS, device=u.device)  # [bins, 2]
    # N u = i + r: bin i, and the position r in it.
    scaled = len(TIMESTEP_BINS) * u
    low, high = bins[scaled.long().clamp(max=len(TIMESTEP_BINS) - 1)].unbind(-1)  # [B] each
    return low + (high - low) * scaled.frac()


def add_noise_zero_snr(latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """Return `add_noise`, but pure noise at the last timestep: x_999 = eps, as sampling starts."""
    # The schedule keeps alpha_999 = 0.07, from which a model could read the clip.
    is_last = (t == LAST_TIMESTEP).reshape(-1, 1, 1, 1, 1)  # [B] -> [B, 1, 1, 1, 1]
    return torch.where(is_last, noise, add_noise(latents, noise, t))


def add_noise_below_terminal(latents: Tensor, noise: Tensor, t: Tensor, share: Tensor) -> Tensor:
    """Return `add_noise`, but at the last timestep any signal from none to the schedule's.

    Sampling starts from pure noise, and the step from there to alpha_999 = 0.07 decides the tone of
    the whole video: too much for one step. A model that knows the signals between can take several.

    Args:
        latents: x_0 `[B, 4, T, h, w]`.
        noise: of the same shape.
        t: timesteps `[B]`.
        share: of alpha_999, in 0..1, `[B]`.
    """
    noisy = add_noise(latents, noise, t)
    alpha = share.reshape(-1, 1, 1, 1, 1) * alpha_sigma(LAST_TIMESTEP, latents)[0]
    is_last = (t == LAST_TIMESTEP).reshape(-1, 1, 1, 1, 1)  # [B] -> [B, 1, 1, 1, 1]
    return torch.where(is_last, alpha * latents + (1 - alpha.square()).sqrt() * noise, noisy)


def x0_to_eps(x0: Tensor, sample: Tensor, t: Tensor) -> Tensor:
    """Return the noise eps = (x_t - alpha_t x_0) / sigma_t; the inverse of `predict_x0`."""
    alpha, sigma = alpha_sigma(t, sample)  # [B, 1, 1, 1, 1] each
    return (sample - alpha * x0) / sigma
