"""A nano teacher that samples as on the paths its students learn from.

The pipeline's DDIM starts below t = 999 with noise that holds no signal, as VideoCrafter2 does. For
nano that decides the tone against the text, and the same for most seeds, so it says little about
what the student can learn.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hummingbird_core.nano.latents import clamp_to_range
from hummingbird_core.pipeline import HummingbirdPipeline
from hummingbird_core.training.distillation.noise import LAST_TIMESTEP
from hummingbird_core.training.distillation.predictions import Conditions, Models
from hummingbird_core.training.distillation.recipe import read_recipe
from hummingbird_core.training.distillation.step import Step
from hummingbird_core.training.loop.micro_batch import MicroBatch


class PathTeacher(HummingbirdPipeline):
    """Samples by `Step.teacher_states`, with the timesteps of the recipe nano-distil."""

    @torch.no_grad()
    def sample(
        self,
        encoder_hidden_states: Tensor,
        *,
        latents: Tensor,
        guidance_scale: float,
        fps: float,
        **_settings: object,
    ) -> Tensor:
        """Denoise latents `[B, 4, T, h, w]`; the recipe names the steps."""
        recipe, count = read_recipe("nano-distil"), len(latents)
        w = torch.full((count,), guidance_scale - 1)
        null_context = self.encode_prompt("").expand_as(encoder_hidden_states)
        rates = torch.full((count,), float(fps))
        models = Models(self.unet, self.unet, self.text_encoder, clamp_latents=clamp_to_range)
        step = Step(
            MicroBatch(seed=0, step=0),
            models,
            replace(recipe.noise, guidance=(guidance_scale - 1,) * 2),
            latents,
            torch.full((count,), LAST_TIMESTEP),
            Conditions(encoder_hidden_states, null_context, rates, w),
            [],
        )
        return step.teacher_states(recipe.paths.timesteps, recipe.paths.terminal_steps)[-1]
