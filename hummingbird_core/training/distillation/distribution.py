"""Distribution matching: the student's videos become as likely under the teacher as its own.

DMD (arXiv 2311.18828) with the critic schedule and the backward simulation of DMD2 (arXiv
2405.14867). Not a distance to single videos, whose optimum is a mean of them:

    x~      the student's clean latents at one of its own samples, gradient in that step alone
    x_t     alpha_t x~ + sigma_t e, with e ~ N(0, I) and t ~ U{20..980}
    x0_T    guided teacher at x_t;  x0_F  fake score at x_t: a denoiser of the student's videos
    grad    (x0_F - x0_T) / mean|x~ - x0_T|
    L_G     1/2 |x~ - stopgrad(x~ - grad)|^2
    L_F     |eps_F(x_t, t) - e|^2, with x~ without gradient

| | published (FastVideo, Wan 1.3B) | here |
|---|---|---|
| fake score | copy of the teacher, lr 8e-6 | copy of the teacher, or a LoRA on its weights |
| its updates a step | 5 | `updates` |
| student | lr 2e-6, 4 steps | any; 1 to 8 steps in turn by `noise.mixed_steps` |
| guidance of the teacher | 4.5 | the clip's w, as everywhere in training |
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...errors import InputError
from ...lora.layers import new_lora
from ...sampling.schedule import predict_x0
from ...unet.model import HummingbirdUNet
from ..configs import check_field
from ..loop.modules import add_lora
from .critics import CriticObjective
from .noise import LAST_TIMESTEP
from .predictions import Models
from .step import Step

SMALLEST_DISTANCE = 1e-6


# --- Pure functions -------------------------------------------------------------------------------


def matching_gradient(x0: Tensor, fake: Tensor, teacher: Tensor) -> Tensor:
    """Return the direction in which x~ becomes less likely under the teacher.

    grad = (x0_F - x0_T) / mean|x~ - x0_T| (arXiv 2311.18828, equations 7 and 8): the difference of
    two scores, on the scale of the teacher's own error.

    Args:
        x0: the student's clean latents x~, `[B, 4, T, h, w]`.
        fake: denoised by the fake score.
        teacher: denoised by the guided teacher.
    """
    distance = (x0 - teacher).abs().mean(dim=(1, 2, 3, 4), keepdim=True)  # [B, 1, 1, 1, 1]
    return (fake - teacher) / distance.clamp(min=SMALLEST_DISTANCE)


def follow(x0: Tensor, gradient: Tensor) -> Tensor:
    """Return 1/2 mean |x~ - stopgrad(x~ - grad)|^2, whose gradient by x~ is grad / N."""
    return 0.5 * (x0 - (x0 - gradient).detach()).square().mean()


def copied(unet: HummingbirdUNet, *, share_weights: bool) -> HummingbirdUNet:
    """Return a copy of a U-Net; if it shares the weights, they take no memory again."""
    # What `memo` has already is not copied.
    memo = {id(p): p for p in unet.parameters()} if share_weights else {}
    return copy.deepcopy(unet, memo)


# --- The objective --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class DistributionMatching(CriticObjective):
    """Follows the difference between the scores of the teacher and of the student's own videos.

    Needs `noise.samples: on_policy`.

    Args:
        lora_rank: of a LoRA on the teacher's frozen weights, which both share: the fake score. 0
            trains a whole copy of the teacher.
        timesteps: range of t.
    """

    critic_name: ClassVar[str] = "fake_score"
    lora_rank: int = 0
    timesteps: tuple[int, int] = (20, 980)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_field(self, "lora_rank", "0 or more", self.lora_rank >= 0)
        low, high = self.timesteps
        is_range = 0 <= low < high <= LAST_TIMESTEP
        check_field(self, "timesteps", f"two numbers from 0 to {LAST_TIMESTEP}, rising", is_range)

    def make_critic(self, models: Models, seed: int) -> nn.Module:
        """Return a copy of the teacher, or a LoRA on the teacher's weights, to be trained."""
        fake = copied(models.teacher, share_weights=bool(self.lora_rank))
        fake.gradient_checkpointing = models.student.gradient_checkpointing
        if not self.lora_rank:
            return fake.float().requires_grad_(True)
        generator = torch.Generator().manual_seed(seed)
        lora = new_lora(fake, self.lora_rank, float(self.lora_rank), generator)
        add_lora(fake, lora, None)
        return fake

    def loss(self, step: Step) -> Tensor:
        """Return L_G."""
        if step.settings.samples != "on_policy":
            raise InputError(
                f"got noise.samples {step.settings.samples} for distribution matching, expected "
                "on_policy: its samples have to be the student's"
            )
        x0 = step.denoised.float()
        with torch.no_grad():
            sample, _, t = self._noised(x0, step)
            fake = predict_x0(sample, self._fake_eps(step, sample, t), t)
            real = predict_x0(sample, step.teacher_eps(sample, t), t)
        x0 = step.settings.scaled(x0, t)  # both scores know it at this scale
        return follow(x0, matching_gradient(x0, fake, real))

    def critic_loss(self, step: Step) -> Tensor:
        """Return L_F."""
        with torch.no_grad():
            x0 = step.denoised.float()
        sample, noise, t = self._noised(x0, step)
        return (self._fake_eps(step, sample, t) - noise).square().mean()

    def _fake_eps(self, step: Step, sample: Tensor, t: Tensor) -> Tensor:
        conditions = step.conditions
        fake: HummingbirdUNet = step.models.critics[self.critic_name]  # type: ignore[assignment]
        # Without guidance: the score of what the student makes, not of something better.
        return fake(
            sample, t, conditions.context, fps=conditions.fps, **conditions.switches
        ).float()

    def _noised(self, x0: Tensor, step: Step) -> tuple[Tensor, Tensor, Tensor]:
        """Return x_t, its noise and t, drawn from the generators of the clips."""
        # Other numbers than those of the rollout, which begin with the same seeds.
        again = step.micro_batch.again("distribution")
        noise, (u,) = again.draw(x0.shape[1:], 1, x0.device)
        low, high = self.timesteps
        t = (low + (high - low) * u).long()
        return step.settings.noisy(x0, noise, t), noise, t
