"""Adversarial distillation: heads on the frozen teacher tell the student's videos from real ones.

As in AMD Nitro-1, which made the U-Net of Stable Diffusion 2.1 work in one step; the heads on a
frozen backbone are those of ADD and LADD (arXiv 2311.17042, 2403.12015):

    x~      the student's clean latents                                      `Step.denoised`
    x_T     real ones: the end of the teacher's path, or the clip
    D(x)    heads on the features of the teacher's encoder at alpha_t x + sigma_t e, t ~ U{0..749}
    L_G     softplus(-D(x~, text))
    L_D     softplus(-D(x_T, text)) + softplus(D(x~, text)) + softplus(D(x_T, text of another clip))

With `path_kd` on the teacher's paths (L1 to the same x_T) it is Nitro-1's whole loss.

| | published (Nitro-1) | here |
|---|---|---|
| features | after down blocks 0 and 1, and the middle | after every level of the encoder, and the middle |
| head | GroupNorm 32, 4x4 convolution of stride 2, SiLU, 1x1 | GroupNorm, 3x3 convolution, SiLU, 1x1: latents may be 2x2 |
| updates of D and G | 1 : 1 | `updates` : 1 |
| real videos | the teacher's ends | the same; the clips without paths |
"""  # noqa: E501 - a table

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import InputError
from ...unet.config import UNetConfig
from ..configs import check_field
from ..loop.modules import recorded_outputs
from .critics import CriticObjective
from .noise import LAST_TIMESTEP
from .predictions import Models
from .step import Step

# L_D has three terms, each ln 2 if D says 1/2 to all.
CHANCE_LOSS = 3 * math.log(2)
WON = 0.15  # D is sure of all: exp(-0.05) = 95 % in each term


class Discriminator(nn.Module):
    """One small head on each recorded block of the teacher.

    Args:
        channels: of the outputs of each block, by its name.
        groups: of the norms.
    """

    def __init__(self, channels: Mapping[str, int], groups: int):
        super().__init__()
        self.blocks = list(channels)
        self.heads = nn.ModuleList(head(count, groups) for count in channels.values())

    def forward(self, features: Mapping[str, Tensor], batch: int) -> Tensor:
        """Return logits `[B, N]`, one for each place of each block, for `[B*T, C, h, w]` each."""
        logits = [
            # [B*T, 1, h, w] -> [B, T*h*w]
            layers(features[name].float()).reshape(batch, -1)
            for name, layers in zip(self.blocks, self.heads, strict=True)
        ]
        return torch.cat(logits, dim=1)


def head(channels: int, groups: int) -> nn.Sequential:
    """Return the layers from features `[N, C, h, w]` to logits `[N, 1, h, w]`."""
    return nn.Sequential(
        nn.GroupNorm(groups, channels),
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.SiLU(),
        nn.Conv2d(channels, 1, 1),
    )


def feature_blocks(config: UNetConfig) -> dict[str, int]:
    """Return the last block of each level of the encoder, and the middle, with their channels."""
    stride = config.num_res_blocks + 1  # blocks of a level: convolution or downsampling, ResBlocks
    width = config.model_channels
    blocks = {
        f"input_blocks.{level * stride + config.num_res_blocks}": mult * width
        for level, mult in enumerate(config.channel_mult)
    }
    if config.middle_block:
        blocks["middle_block"] = config.channel_mult[-1] * width
    return blocks


@dataclass(frozen=True, kw_only=True)
class Adversarial(CriticObjective):
    """Makes the student's videos look real to heads on the frozen teacher.

    Args:
        timesteps: range of t at which the teacher looks at them.
    """

    critic_name: ClassVar[str] = "discriminator"
    updates: int = 1
    timesteps: tuple[int, int] = (0, 749)

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = self.timesteps
        is_range = 0 <= low < high <= LAST_TIMESTEP
        check_field(self, "timesteps", f"two numbers from 0 to {LAST_TIMESTEP}, rising", is_range)

    def make_critic(self, models: Models, seed: int) -> nn.Module:
        """Return new heads for the teacher."""
        # The student's gradient passes through the teacher, whose activations are kept for it.
        models.teacher.gradient_checkpointing = models.student.gradient_checkpointing
        config = models.teacher.config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            heads = Discriminator(feature_blocks(config), config.norm_groups)
        return heads.to(next(models.teacher.parameters()).device)

    def loss(self, step: Step) -> Tensor:
        """Return L_G."""
        return F.softplus(-self._logits(step, step.denoised.float())).mean()

    def critic_loss(self, step: Step) -> Tensor:
        """Return L_D."""
        real = step.real
        if real is None:
            raise InputError(
                f"got noise.samples {step.settings.samples} without real videos, expected clips "
                "or paths of the teacher for adversarial"
            )
        with torch.no_grad():
            made = step.denoised.float()
        right = F.softplus(-self._logits(step, real)).mean()
        wrong = F.softplus(self._logits(step, made)).mean()
        if len(real) == 1:  # no other text is at hand; two terms count as three, as chance does
            return 1.5 * (right + wrong)
        # The text of the next clip of the batch: realism is not enough.
        mismatched = F.softplus(self._logits(step, real, shift=1)).mean()
        return right + wrong + mismatched

    def fault(self, mean_loss: float) -> str:
        """Return whether the discriminator wins or tells nothing apart, and what to do."""
        if mean_loss < WON:
            return (
                "it is never fooled, and the student gets no gradient to follow; lower its "
                "critic_learning_rate or updates, or start the student from a better one"
            )
        if mean_loss > CHANCE_LOSS:
            return (
                "it tells nothing apart (chance is 2.08), and the student follows noise; raise its "
                "critic_learning_rate or updates, or lower the student's learning rate"
            )
        return ""

    def _logits(self, step: Step, x0: Tensor, shift: int = 0) -> Tensor:
        """Return D(x0) `[B, N]` at a noise level drawn for each clip, with shifted texts."""
        noise, (u,) = step.micro_batch.again("adversarial").draw(x0.shape[1:], 1, x0.device)
        low, high = self.timesteps
        t = (low + (high - low) * u).long()
        critic = cast(Discriminator, step.models.critics[self.critic_name])
        conditions = step.conditions
        with recorded_outputs(step.models.teacher, critic.blocks) as features:
            step.models.teacher(
                step.settings.noisy(x0, noise, t),
                t,
                conditions.context.roll(shift, dims=0),
                fps=conditions.fps,
                **conditions.switches,
            )
        return critic(features, len(x0))
