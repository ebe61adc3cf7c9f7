"""What a student is trained for: objectives, each with a weight, whose sum is minimised.

`output_kd` and `feature_kd` are stage 1 (arXiv 2503.18559, section 3.2), `consistency` and `reward`
are stage 2 (T2V-Turbo, arXiv 2405.18750).
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from ...errors import InputError
from ..configs import check_field
from ..rewards.base import Reward
from ..rewards.decoding import decode_for_reward
from .noise import LAST_STEP
from .step import Step

if TYPE_CHECKING:
    from diffusers.models import AutoencoderKL
from ...sampling.schedule import alphas_cumprod, extract

HUBER_C = 0.001
X0_WEIGHTS = (1.0, 20.0)  # the least and the most


def pseudo_huber(value: Tensor, target: Tensor, c: float = HUBER_C) -> Tensor:
    """mean(sqrt(d^2 + c^2) - c): near |d|, smooth at zero (arXiv 2310.14189)."""
    return (((value - target).square() + c**2).sqrt() - c).mean()


def per_sample_mse(eps: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of each clip's noise: `[B, 4, T, h, w]` twice to `[B]`."""
    return (eps - target).square().mean(dim=(1, 2, 3, 4))


def inverse_snr_weight(t: Tensor) -> Tensor:
    """(1 - a) / a, `[B]`: makes an error in the noise count like the one in x0 it leads to.

    From 1 to 20, though: below t = 400 shapes get their edges, where errors in x0 are small; and
    the last steps, where it is 200, would leave the others no say.
    """
    alphas = extract(alphas_cumprod(), t, t.float())
    return ((1 - alphas) / alphas).clamp(*X0_WEIGHTS)


@dataclass(frozen=True, kw_only=True)
class Objective(ABC):
    """What all objectives have.

    Args:
        weight: factor on the loss.
        every: steps from one use to the next; 1 is every step.
        processes: numbers of those that compute it; empty: all. Gradients are averaged over all
            processes, those that compute other objectives included.
    """

    weight: float = 1.0
    every: int = 1
    processes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_field(self, "every", "at least 1, which is each step", self.every >= 1)
        check_field(self, "weight", "0 or more", 0 <= self.weight < math.inf)

    @abstractmethod
    def loss(self, step: Step) -> Tensor:
        """The loss before it is weighted: a scalar, mean over the clips."""

    def is_due(self, step: int) -> bool:
        return step % self.every == 0

    def __call__(self, step: Step) -> Tensor:
        """The weighted loss; 0 in a process that computes other objectives."""
        if self.processes and step.micro_batch.process not in self.processes:
            return nothing(step)
        return self.weight * self.loss(step)


def nothing(step: Step) -> Tensor:
    """A loss of 0, from which all weights get their zero gradient."""
    return 0 * step.student.noise.sum()


@dataclass(frozen=True, kw_only=True)
class OutputKD(Objective):
    """Mean squared error between the student's noise and the guided teacher's.

    Args:
        weighting: "noise" is the plain error; "x0" weighs it like the error in the clean latents
            that it leads to, which is large where the noise is strong (`inverse_snr_weight`).
        teacher_steps: of DDIM, which lead the teacher to its target. One gives the mean of all
            clips that a noisy one can come from, which is blurred; more give one of them, as in
            progressive distillation (arXiv 2202.00512).
    """

    weighting: Literal["noise", "x0"] = "noise"
    teacher_steps: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_field(self, "teacher_steps", "at least 1", self.teacher_steps >= 1)

    def loss(self, step: Step) -> Tensor:
        one = self.teacher_steps == 1
        target = step.teacher.noise if one else step.teacher_path(self.teacher_steps)
        error = per_sample_mse(step.student.noise, target)
        if self.weighting == "x0":
            error = error * inverse_snr_weight(step.t)
        return error.mean()


@dataclass(frozen=True, kw_only=True)
class FeatureKD(Objective):
    """Sum over the kept blocks of |F_s - F_t|^2, each relative to the teacher's own |F_t|^2.

    So a block of large activations counts no more than others; 1 is as wrong as zeros would be.

    Args:
        map: file with the block map of a student that was pruned by a map of its own; without, the
            published one.
    """

    map: str | None = None

    def loss(self, step: Step) -> Tensor:
        pairs = step.models.kept_blocks.items()
        return torch.stack([_distance(step, student, teacher) for student, teacher in pairs]).sum()


def _distance(step: Step, student: str, teacher: str) -> Tensor:
    got = step.student.features[student].float()
    expected = step.teacher.features[teacher].float()
    return (got - expected).square().mean() / expected.square().mean()


@dataclass(frozen=True, kw_only=True)
class Consistency(Objective):
    """Pseudo-Huber distance between the student's values at two points of one trajectory.

    The second point is one DDIM step of the guided teacher further, and gets no gradient.

    Args:
        huber_c: below this, the distance is that of squares.
    """

    huber_c: float = HUBER_C

    def loss(self, step: Step) -> Tensor:
        return pseudo_huber(*step.consistency_pair, self.huber_c)


@dataclass(frozen=True, kw_only=True)
class RewardFeedback(Objective):
    """Raises the score of what the student's clean latents show, through the VAE's decoder.

    Args:
        reward: judges frames.
        vae: frozen; decodes only those frames that the reward asks for.
        chunk: frames that are decoded at once, in forward and backward pass.
        max_timestep: clips with more noise score 0: of much noise even a good student makes only a
            blurred mean of what could be there.
        captions: regular expression; clips whose caption holds no match of it score 0, for rewards
            that understand some captions only.
    """

    reward: Reward
    vae: AutoencoderKL
    chunk: int = 1
    max_timestep: int = LAST_STEP
    captions: str = ""

    def loss(self, step: Step) -> Tensor:
        chosen = [
            n
            for n, (t, caption) in enumerate(zip(step.t.tolist(), step.captions, strict=True))
            if t <= self.max_timestep and re.search(self.captions, caption)
        ]
        if not chosen:
            return nothing(step)
        generator = step.micro_batch.step_generator()
        frames = self.reward.frames_needed(step.sample.shape[2], generator)
        video = decode_for_reward(self.vae, step.value[chosen], frames, self.chunk)
        scores = self.reward(video, [step.captions[n] for n in chosen], generator)
        return -scores.sum() / len(step.t)


def weighted_terms(objectives: Mapping[str, Objective], step: Step) -> dict[str, Tensor]:
    """The terms of the loss that are due, by name."""
    return {
        name: objective(step)
        for name, objective in objectives.items()
        if objective.is_due(step.micro_batch.step)
    }


def check_objectives(
    objectives: Mapping[str, Objective], processes: int, sharding: str = "none"
) -> None:
    """Raises InputError if a step, or a process, would have nothing to do, or wait for ever."""
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
