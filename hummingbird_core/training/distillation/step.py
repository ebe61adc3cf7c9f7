"""One step of distillation, top to bottom; `DistillationLoss` runs it in this order.

    x_0, caption, fps       clips of this micro-batch                          training.data
    c, c_null, w            text embeddings; w ~ U(low, high)                  `draw_step`
    t, x_t                  alpha_t x_0 + sigma_t eps, or the student's own    `noise`, `on_policy`
    eps_s                   eps_theta(x_t, t, c, w), with gradient             `Step.student`
    eps_T                   cond + w (cond - uncond), without gradient         `Step.teacher`
    loss                    sum over k of weight_k L_k(eps_s, eps_T, ...)      `losses`

Objectives share one `Step`: student and teacher predict once, when the first objective needs it.
Shapes: B clips of T frames; latents and noise `[B, 4, T, h, w]`; t, fps and w `[B]`; text
embeddings `[B, 77, C]`. The guidance scale w means cond + w (cond - uncond) in all of training.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from ...sampling.consistency import GRID_STRIDE, consistency_function
from ...sampling.ddim import ddim_step
from ...sampling.schedule import alpha_sigma, predict_x0, rescale_latents
from ..configs import check_field
from ..data.batch import ClipBatch, ClipSource, batch_of
from ..loop.distributed import distributed_state
from ..loop.micro_batch import MicroBatch
from ..loop.modules import recorded_outputs
from .noise import NoiseConfig, draw_timesteps, x0_to_eps
from .on_policy import rollout
from .predictions import Conditions, Models, encode_conditions, student_eps, teacher_eps


@dataclass(frozen=True)
class DistillationLoss:
    """The weighted terms of the loss on one micro-batch, by name."""

    clips: ClipSource
    models: Models
    objectives: Mapping[str, Objective]
    noise: NoiseConfig

    def __call__(self, micro_batch: MicroBatch) -> dict[str, Tensor]:
        """Read clips, noise them, and return the terms due in this step."""
        # Predictions are made as the objectives first need them.
        return weighted_terms(self.objectives, self.draw(micro_batch))

    def draw(self, micro_batch: MicroBatch) -> Step:
        """Read clips and noise them."""
        # 1. Clean latents x_0 with captions and frame rates, a function of the step's number alone.
        batch = batch_of(self.clips, micro_batch).to(distributed_state().device)
        # 2. Noisy latents x_t and their conditions: what both models get as input.
        return draw_step(micro_batch, batch, self.models, self.noise)


def draw_step(
    micro_batch: MicroBatch, batch: ClipBatch, models: Models, settings: NoiseConfig
) -> Step:
    """Draw noise, timestep and guidance scale of every clip from the clip's own generator."""
    device, shape = batch.latents.device, batch.latents.shape[1:]  # [4, T, h, w]
    on_policy = settings.samples == "on_policy"
    # eps ~ N(0, I): [B, 4, T, h, w], or [B, steps, 4, T, h, w] for a rollout.
    # u_t, u_w ~ U(0, 1): [B] each.
    steps = settings.rollout_steps(micro_batch.step)
    noise_shape = (steps, *shape) if on_policy else shape
    noise, (u_t, u_w) = micro_batch.draw(noise_shape, 2, device)
    # w ~ U(low, high), as in LCM (arXiv 2310.04378, algorithm 1).
    low, high = settings.guidance
    conditions = encode_conditions(models, batch, w=low + (high - low) * u_w)
    if on_policy:
        # x_t: the student's own sample after some of its steps, from pure noise.
        predict_eps = partial(
            student_eps,
            models.student,
            conditions=conditions,
            condition_on_guidance=settings.condition_on_guidance,
        )
        sample, t = rollout(models.student, predict_eps, noise, u_t)
    else:
        # x_t = alpha_t x_0 + sigma_t eps
        t = draw_timesteps(u_t, settings)
        sample = settings.noisy(batch.latents, noise, t)
    captions, clean = batch.captions, batch.latents
    return Step(micro_batch, models, settings, sample, t, conditions, captions, clean=clean)


# --- What the objectives share --------------------------------------------------------------------


@dataclass(frozen=True)
class Prediction:
    """Predicted noise `[B, 4, T, h, w]`, and the outputs of `Models.kept_blocks` by name."""

    eps: Tensor
    features: dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Step:
    """Noisy clips with the predictions of student and teacher, computed when first used.

    Attributes:
        micro_batch: share of the step's batch.
        models: student and teacher.
        settings: of the noise.
        sample: noisy latents x_t, `[B, 4, T, h, w]`, the input of both models.
        t: timesteps `[B]`.
        conditions: of the clips.
        captions: B of them.
        path_end: where the teacher's path through `sample` ends, x_0 of the same shape; None where
            the sample is not from such a path.
        clean: latents of the clips, x_0 of the same shape; None on paths, which have none.
    """

    micro_batch: MicroBatch
    models: Models
    settings: NoiseConfig
    sample: Tensor
    t: Tensor
    conditions: Conditions
    captions: list[str]
    path_end: Tensor | None = None
    clean: Tensor | None = None

    @property
    def real(self) -> Tensor | None:
        """Latents that the student's should look like: the teacher's, or those of the clips."""
        return self.clean if self.path_end is None else self.path_end

    @cached_property
    def student(self) -> Prediction:
        """The student's prediction, with gradient."""
        with recorded_outputs(self.models.student, self.models.kept_blocks.keys()) as features:
            return Prediction(self._student_eps(self.sample, self.t), features)

    @cached_property
    def teacher(self) -> Prediction:
        """The teacher's guided prediction, and the features of its conditional pass."""
        blocks = set(self.models.kept_blocks.values())
        with torch.no_grad(), recorded_outputs(self.models.teacher, blocks) as features:
            eps = self.teacher_eps(self.sample, self.t)
        # Blocks see frames as a batch, both passes of guidance in it; the conditional comes first:
        # [2*B*T, C, h, w] -> [B*T, C, h, w]
        count = self.sample.shape[0] * self.sample.shape[2]
        conditional = {name: value[:count] for name, value in features.items()}
        return Prediction(eps, conditional)

    @torch.no_grad()
    def teacher_path(self, steps: int) -> Tensor:
        """Return the noise that leads x_t straight to where the teacher arrives in DDIM steps.

        As in progressive distillation (arXiv 2202.00512): one step of the student replaces
        `steps` of the teacher.

        Args:
            steps: evenly apart, from t to no noise; 1 gives the teacher's prediction.
        """
        # t_k = t k / steps for k = steps - 1, ..., 1; the last jump goes from t_1 to x_0.
        sample, t, eps = self.sample, self.t, self.teacher.eps
        for left in range(steps - 1, 0, -1):
            earlier = self.t * left // steps  # [B]
            # x_{t_k} = alpha_{t_k} x_0 + sigma_{t_k} eps, with both from the guided prediction
            sample = self._ddim_step(sample, eps, t, earlier)
            t, eps = earlier, self.teacher_eps(sample, earlier)
        x0 = predict_x0(sample, eps, t)
        # x_0 carries the scale of the last t_k; the student's x_t has the scale of t.
        if self.settings.dynamic_rescale:
            x0 = rescale_latents(x0, t, self.t)
        # (x_t - alpha_t x_0) / sigma_t: the one prediction at x_t that gives this x_0
        return x0_to_eps(x0, self.sample, self.t)

    @torch.no_grad()
    def teacher_states(self, timesteps: Sequence[int], terminal_steps: int = 0) -> list[Tensor]:
        """Return x_t on the teacher's DDIM path at each of the timesteps, and its end x_0.

        With `dynamic_rescale` the teacher goes from s_t x_0 to s_t x_0, and the result holds x_0
        itself, as the student's sampling does.

        Args:
            timesteps: falling; `sample` is the state at the first one, pure noise.
            terminal_steps: steps from pure noise to the signal of the first timestep; 0 takes pure
                noise for a sample that holds it.
        """
        states, sample = [self.sample], self._raise_signal(timesteps[0], terminal_steps)
        for t, earlier in zip(timesteps, [*timesteps[1:], None], strict=True):
            now = torch.full_like(self.t, t)
            eps = self.teacher_eps(sample, now)
            x0 = predict_x0(sample, eps, now)
            # s_0 = 1
            clean = rescale_latents(x0, now, 0) if self.settings.dynamic_rescale else x0
            if earlier is None:
                states.append(clean)
            else:
                later = torch.full_like(self.t, earlier)
                sample = ddim_step(x0, eps, now, later, rescale=self.settings.dynamic_rescale)
                states.append(ddim_step(clean, eps, now, later))
        return states

    def _raise_signal(self, t: int, steps: int) -> Tensor:
        """Return x_t at the schedule's signal, in DDIM steps from pure noise.

        The model predicts x_0 with timestep t at all of them, see `noise.add_noise_below_terminal`.
        """
        sample, now = self.sample, torch.full_like(self.t, t)
        for k in range(steps):
            x0 = predict_x0(sample, self.teacher_eps(sample, now), now)
            # alpha rises evenly from 0: alpha_k = alpha_t k / steps
            alpha, later = (float(alpha_sigma(t, sample)[0]) * n / steps for n in (k, k + 1))
            noise = (sample - alpha * x0) / math.sqrt(1 - alpha**2)
            sample = later * x0 + math.sqrt(1 - later**2) * noise
        return sample

    @cached_property
    def denoised(self) -> Tensor:
        """The student's consistency function f(x_t, t): its clean latents, with gradient."""
        # f(x_t, t) = c_skip(t) x_t + c_out(t) (x_t - sigma_t eps_s) / alpha_t
        return consistency_function(self.sample, self.student.eps, self.t)

    @cached_property
    def consistency_pair(self) -> tuple[Tensor, Tensor]:
        """f(x_t, t), and its target f(x_s, s) one guided DDIM step of the teacher earlier."""
        # The pass with gradient comes first: autocast keeps the weights it has cast, and those cast
        # without gradient would leave the student without any.
        denoised = self.denoised
        earlier = (self.t - GRID_STRIDE).clamp(min=0)  # s = t - 20
        # The teacher is the ODE solver, the student with stopped gradient its own target network.
        with torch.no_grad():
            sample = self._ddim_step(self.sample, self.teacher.eps, self.t, earlier)  # x_s
            target = consistency_function(sample, self._student_eps(sample, earlier), earlier)
        return denoised, target

    def _student_eps(self, sample: Tensor, t: Tensor) -> Tensor:
        has_input = self.settings.condition_on_guidance
        return student_eps(
            self.models.student, sample, t, self.conditions, condition_on_guidance=has_input
        ).float()

    def _ddim_step(self, sample: Tensor, eps: Tensor, t: Tensor, earlier: Tensor) -> Tensor:
        # x_s = alpha_s x_0 + sigma_s eps, with x_0 = (x_t - sigma_t eps) / alpha_t
        x0 = predict_x0(sample, eps, t)
        return ddim_step(x0, eps, t, earlier, rescale=self.settings.dynamic_rescale)

    def teacher_eps(self, sample: Tensor, t: Tensor) -> Tensor:
        """Return the guided teacher's noise at other samples, under the same conditions."""
        guided = self.settings.guided_timesteps
        eps = teacher_eps(self.models.teacher, sample, t, self.conditions, guided=guided).float()
        clamp = self.models.clamp_latents if self.settings.clip_denoised else None
        # Strong guidance overshoots: static thresholding (Imagen, arXiv 2205.11487, 2.3),
        # eps <- (x_t - alpha_t clamp(x_0)) / sigma_t.
        return x0_to_eps(clamp(predict_x0(sample, eps, t)), sample, t) if clamp else eps


# --- The sum of the objectives --------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Objective(ABC):
    """A term of the loss.

    Args:
        weight: factor on the loss.
        every: steps from one use to the next; 1 is every step.
        processes: indices of the processes that compute it; empty: all. Gradients are averaged
            over all processes, those that compute other objectives included.
    """

    weight: float = 1.0
    every: int = 1
    processes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_field(self, "every", "at least 1, which is each step", self.every >= 1)
        check_field(self, "weight", "0 or more", 0 <= self.weight < math.inf)

    @abstractmethod
    def loss(self, step: Step) -> Tensor:
        """Return the loss before it is weighted: a scalar, mean over the clips."""

    def is_due(self, step: int) -> bool:
        """Return whether the step of this number uses the objective."""
        return step % self.every == 0

    def __call__(self, step: Step) -> Tensor:
        """Return the weighted loss; 0 in a process that computes other objectives."""
        if self.processes and step.micro_batch.process not in self.processes:
            return zero_loss(step)
        return self.weight * self.loss(step)


def zero_loss(step: Step) -> Tensor:
    """Return a loss of 0, from which every weight gets a gradient of zero."""
    return 0 * step.student.eps.sum()


def weighted_terms(objectives: Mapping[str, Objective], step: Step) -> dict[str, Tensor]:
    """Return the terms of the loss that are due, by name."""
    return {
        name: objective(step)
        for name, objective in objectives.items()
        if objective.is_due(step.micro_batch.step)
    }
