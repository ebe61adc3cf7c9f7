"""Objectives of distillation; their weighted sum is minimised.

`OutputKD` and `FeatureKD` are stage 1 (arXiv 2503.18559, section 3.2), `Consistency` and
`RewardFeedback` stage 2 (T2V-Turbo, arXiv 2405.18750). Symbols and shapes as in `step`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from ...errors import InputError
from ...inputs.timed_captions import untimed
from ...sampling.schedule import alphas_cumprod, extract
from ..configs import check_field
from ..rewards.base import Reward
from ..rewards.decoding import decode_for_reward
from .adversarial import Adversarial
from .distribution import DistributionMatching
from .noise import LAST_TIMESTEP, x0_to_eps
from .step import Objective, Step, zero_loss

if TYPE_CHECKING:
    from diffusers.models import AutoencoderKL, AutoencoderTiny

HUBER_C = 0.001
INVERSE_SNR_RANGE = (1.0, 20.0)  # limits of the weight


# --- Pure functions -------------------------------------------------------------------------------


def pseudo_huber(value: Tensor, target: Tensor, c: float = HUBER_C) -> Tensor:
    """Return mean(sqrt(d^2 + c^2) - c) of d = value - target (arXiv 2310.14189)."""
    # |d| >> c: about |d| - c. |d| << c: about d^2 / 2c, smooth at zero.
    return (((value - target).square() + c**2).sqrt() - c).mean()


def per_sample_mse(eps: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error of each clip: `[B, 4, T, h, w]` twice to `[B]`."""
    return (eps - target).square().mean(dim=(1, 2, 3, 4))


def relative_mse(value: Tensor, target: Tensor) -> Tensor:
    """Return |value - target|^2 / |target|^2, a scalar: 1 is as wrong as zeros would be."""
    # A block of large activations counts no more than others.
    return (value - target).square().mean() / target.square().mean()


def inverse_snr_weight(t: Tensor) -> Tensor:
    """Return (1 - a_t) / a_t, clamped to 1..20, `[B]`: weighs errors in eps like errors in x_0."""
    # x_0 = (x_t - sigma_t eps) / alpha_t, so |d x_0|^2 = sigma_t^2 / alpha_t^2 |d eps|^2, and
    # sigma_t^2 / alpha_t^2 = (1 - a_t) / a_t, the inverse of the signal-to-noise ratio.
    alphas = extract(alphas_cumprod(), t, t.float())
    # At least 1: below t = 400 shapes get their edges, where errors in x_0 are small. At most 20:
    # at the last steps it is 200, which would drown the others.
    return ((1 - alphas) / alphas).clamp(*INVERSE_SNR_RANGE)


# --- Stage 1 --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class OutputKD(Objective):
    """Mean squared error between the student's noise and the guided teacher's.

    Args:
        weighting: "noise" is the plain error in eps; "x0" weighs it by `inverse_snr_weight`, like
            the error in the clean latents, which is large at high noise.
        teacher_steps: DDIM steps that lead the teacher to its target. One step gives the mean of
            all clips a noisy one can come from, which is blurred; more steps give one of them, as
            in progressive distillation (arXiv 2202.00512).
        max_timestep: clips with more noise count 0. From pure noise, too, few steps of the teacher
            end at a mean, which would undo what `path_kd` has taught.
    """

    weighting: Literal["noise", "x0"] = "noise"
    teacher_steps: int = 1
    max_timestep: int = LAST_TIMESTEP

    def __post_init__(self) -> None:
        super().__post_init__()
        check_field(self, "teacher_steps", "at least 1", self.teacher_steps >= 1)
        is_timestep = 0 <= self.max_timestep <= LAST_TIMESTEP
        check_field(self, "max_timestep", f"0 to {LAST_TIMESTEP}", is_timestep)

    def loss(self, step: Step) -> Tensor:
        """Return mean_b w(t) |eps_s - eps_T|^2, with 0 for clips left out."""
        is_direct = self.teacher_steps == 1
        target = step.teacher.eps if is_direct else step.teacher_path(self.teacher_steps)
        error = per_sample_mse(step.student.eps, target)  # [B]
        if self.weighting == "x0":
            # |x_0^s - x_0^T|^2 = (1 - a_t) / a_t |eps_s - eps_T|^2
            error = error * inverse_snr_weight(step.t)
        return (error * (step.t <= self.max_timestep)).mean()


@dataclass(frozen=True, kw_only=True)
class PathKD(Objective):
    """Error between the student's clean latents and the end of the teacher's path.

    Needs `noise.samples: teacher_path`. The noise at t = 999 determines the target, so the loss
    does not seek the mean over all clips of a caption, and seeds stay different (see `paths`).
    """

    def loss(self, step: Step) -> Tensor:
        """Return mean_b w(t) |eps_s - eps_P|^2, with eps_P the noise that leads to the path's end.

        Raises:
            InputError: the samples are not from paths.
        """
        if step.path_end is None:
            raise InputError(
                f"got noise.samples {step.settings.samples}, expected teacher_path for path_kd"
            )
        target = x0_to_eps(step.path_end, step.sample, step.t)
        return (per_sample_mse(step.student.eps, target) * inverse_snr_weight(step.t)).mean()


@dataclass(frozen=True, kw_only=True)
class FeatureKD(Objective):
    """Sum over the kept blocks of |F_s - F_T|^2 / |F_T|^2.

    Args:
        map: file with the block map of a student pruned by its own map; default: the published one.
    """

    map: str | None = None

    def loss(self, step: Step) -> Tensor:
        """Return sum_l |F_s^l - F_T^l|^2 / |F_T^l|^2 over blocks l, F of shape `[B*T, C, h, w]`."""
        got, expected = step.student.features, step.teacher.features
        # In fp32: squares of half-precision activations overflow.
        errors = [
            relative_mse(got[student].float(), expected[teacher].float())
            for student, teacher in step.models.kept_blocks.items()
        ]
        return torch.stack(errors).sum()


# --- Stage 2 --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Consistency(Objective):
    """Pseudo-Huber distance between the student's values at two points of one trajectory.

    The second point is one guided DDIM step of the teacher further, and gets no gradient.

    Args:
        huber_c: distance below which the loss is quadratic.
    """

    huber_c: float = HUBER_C

    def loss(self, step: Step) -> Tensor:
        """Return d(f(x_t, t), stopgrad f(x_s, s)), with s = t - 20 (LCM, arXiv 2310.04378)."""
        # The pair holds f(x_t, t) with gradient and f(x_s, s) without.
        return pseudo_huber(*step.consistency_pair, self.huber_c)


@dataclass(frozen=True, kw_only=True)
class RewardFeedback(Objective):
    """Raises the score of the student's clean latents, through the VAE's decoder.

    Args:
        reward: scores frames.
        vae: frozen, or a smaller decoder; decodes only the frames the reward asks for.
        chunk: frames decoded at once, in forward and backward pass.
        max_timestep: clips with more noise score 0: from much noise even a good student makes only
            a blurred mean of all possible clips.
        captions: regular expression; clips whose caption has no match score 0, for rewards that
            understand some captions only.
    """

    reward: Reward
    vae: AutoencoderKL | AutoencoderTiny
    chunk: int = 1
    max_timestep: int = LAST_TIMESTEP
    captions: str = ""

    def loss(self, step: Step) -> Tensor:
        """Return -mean_b R(D(f(x_t, t)), caption), with 0 for clips left out."""
        chosen = [
            n
            for n, (t, caption) in enumerate(zip(step.t.tolist(), step.captions, strict=True))
            if t <= self.max_timestep and re.search(self.captions, caption)
        ]
        if not chosen:
            return zero_loss(step)
        # The generator is the step's: all micro-batches look at the same frames and crops.
        generator = step.micro_batch.step_generator()
        frames = self.reward.frames_needed(step.sample.shape[2], generator)  # [K] of T
        # [B', 4, T, h, w] -> [B', 3, K, H, W] in -1..1
        video = decode_for_reward(self.vae, step.denoised[chosen], frames, self.chunk)
        captions = [untimed(step.captions[n]) for n in chosen]
        scores = self.reward(video, captions, generator)  # [B']
        # Divided by B, not B': a clip left out scores 0.
        return -scores.sum() / len(step.t)


# Objectives by their names in recipes; rewards have their own section there.
OBJECTIVES: dict[str, type[Objective]] = {
    "output_kd": OutputKD,
    "path_kd": PathKD,
    "feature_kd": FeatureKD,
    "distribution": DistributionMatching,
    "adversarial": Adversarial,
    "consistency": Consistency,
}


# --- Checks ---------------------------------------------------------------------------------------


def check_objectives(
    objectives: Mapping[str, Objective], processes: int, sharding: str = "none"
) -> None:
    """Raise InputError if a step or a process has no work, or if processes would deadlock."""
    if not any(objective.every == 1 for objective in objectives.values()):
        raise InputError(
            f"got objectives {', '.join(objectives) or 'none'}, expected one for every step: "
            "give one of them every: 1"
        )
    for name, objective in objectives.items():
        if objective.processes and sharding != "none":
            # Objectives differ in how often they call the student, and each call gathers its
            # weights from all processes.
            raise InputError(
                f"got processes for {name} with sharding {sharding}, expected the same work in all "
                "of them: leave `processes` empty, or set training.sharding to none"
            )
        absent = [number for number in objective.processes if not 0 <= number < processes]
        if absent:
            raise InputError(
                f"got process {absent[0]} for {name}, expected 0 to {processes - 1}: start more "
                "processes with torchrun, or leave `processes` empty, which means all"
            )
    roles = [objective.processes or range(processes) for objective in objectives.values()]
    idle = set(range(processes)) - {number for role in roles for number in role}
    if idle:
        raise InputError(
            f"got no objective for process {min(idle)}, expected one for each: start fewer "
            "processes, or leave `processes` empty, which means all"
        )
