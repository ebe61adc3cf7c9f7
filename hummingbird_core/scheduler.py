"""Consistency sampling as a diffusers scheduler; the arithmetic is in `sampling`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from .errors import InputError
from .sampling.consistency import (
    consistency_function,
    consistency_step,
    consistency_timesteps,
    guidance_scale_embedding,
)
from .sampling.schedule import (
    BETA_END,
    BETA_START,
    TRAIN_TIMESTEPS,
    add_noise,
    alphas_cumprod,
)

__all__ = ["ConsistencyScheduler", "ConsistencySchedulerOutput", "guidance_scale_embedding"]


FINAL_STEPS = ("renoised", "denoised")
SCHEDULE = {
    "num_train_timesteps": TRAIN_TIMESTEPS,
    "beta_start": BETA_START,
    "beta_end": BETA_END,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
}
Generator = torch.Generator | list[torch.Generator]


@dataclass
class ConsistencySchedulerOutput(BaseOutput):
    """The latents after a step, each `[B, 4, T, H, W]`.

    Args:
        prev_sample: latents to go on with.
        denoised: the estimate of the clean latents; after the last step, the result.
    """

    prev_sample: Tensor
    denoised: Tensor


class ConsistencyScheduler(SchedulerMixin, ConfigMixin):
    """Multistep consistency sampling as in T2V-Turbo (arXiv 2405.18750), 1 to 50 steps.

    Pipelines of diffusers take `prev_sample` of the last step as their result, so give them
    `ConsistencyScheduler(final_step="denoised")`. By default `prev_sample` of the last of several
    steps is noised once more, as in the original, and the result is `denoised`.

    Args:
        final_step: `prev_sample` of the last step: "renoised" to the level that it came from, or
            "denoised". That of a single step is always denoised.
        num_train_timesteps, beta_start, beta_end, beta_schedule, prediction_type: the one schedule
            that released weights know, for other code to read; other values are refused.

    Attributes:
        timesteps: falling, `[num_inference_steps]` int64; empty before `set_timesteps`.
        num_inference_steps: None before `set_timesteps`.
        alphas_cumprod: signal variance left after each timestep, `[1000]`.

    Raises:
        InputError: `final_step` is unknown, or the schedule is another.
    """

    order = 1
    init_noise_sigma = 1.0

    @register_to_config
    def __init__(
        self,
        final_step: Literal["renoised", "denoised"] = "renoised",
        num_train_timesteps: int = TRAIN_TIMESTEPS,
        beta_start: float = BETA_START,
        beta_end: float = BETA_END,
        beta_schedule: str = "scaled_linear",
        prediction_type: str = "epsilon",
    ) -> None:
        if final_step not in FINAL_STEPS:
            expected = " or ".join(map(repr, FINAL_STEPS))
            raise InputError(f"got final_step {final_step!r}, expected {expected}: choose one")
        _check_schedule(
            num_train_timesteps=num_train_timesteps,
            beta_start=beta_start,
            beta_end=beta_end,
            beta_schedule=beta_schedule,
            prediction_type=prediction_type,
        )
        self.timesteps = torch.empty(0, dtype=torch.int64)
        self.num_inference_steps: int | None = None
        self.alphas_cumprod = alphas_cumprod().float()

    def __len__(self) -> int:
        return TRAIN_TIMESTEPS  # as schedulers of diffusers

    def set_timesteps(
        self, num_inference_steps: int, device: torch.device | str | None = None
    ) -> None:
        """Set `timesteps`, falling, `[num_inference_steps]` int64.

        Raises:
            InputError: the number of steps is not from 1 to 50.
        """
        self.timesteps = consistency_timesteps(num_inference_steps).to(device)
        self.num_inference_steps = num_inference_steps

    def scale_model_input(self, sample: Tensor, timestep: Tensor | int | None = None) -> Tensor:
        """Return the sample as it is: this schedule's latents have unit variance at the start."""
        return sample

    def step(
        self,
        model_output: Tensor,
        timestep: Tensor | int,
        sample: Tensor,
        noise: Tensor | None = None,
        generator: Generator | None = None,
        return_dict: bool = True,
    ) -> ConsistencySchedulerOutput | tuple[Tensor, Tensor]:
        """Take one consistency step.

        Args:
            model_output: predicted noise `[B, 4, T, H, W]`.
            timestep: one of `timesteps`.
            sample: the latents that it was predicted in.
            noise: noise to add; by default it is drawn, on the CPU or where the generator is.
            generator: to draw from, or one for each video.
            return_dict: whether to return an object; else a tuple of its fields.

        Raises:
            InputError: `timestep` is not one of `timesteps`.
        """
        index = self._index(int(timestep))
        t, last = int(timestep), len(self.timesteps) - 1
        if last == 0 or (index == last and self.config.final_step == "denoised"):
            denoised = prev_sample = consistency_function(sample, model_output, t)
        else:
            noise = _draw_noise(sample, generator) if noise is None else noise
            t_next = int(self.timesteps[min(index + 1, last)])
            noise = noise.to(sample.device)
            prev_sample, denoised = consistency_step(sample, model_output, t, t_next, noise)
        if not return_dict:
            return prev_sample, denoised
        return ConsistencySchedulerOutput(prev_sample=prev_sample, denoised=denoised)

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Add noise to clean latents `[B, ...]` as at `timesteps` `[B]`."""
        return add_noise(original_samples, noise, timesteps)

    def _index(self, timestep: int) -> int:
        timesteps = self.timesteps.tolist()
        if timestep not in timesteps:
            expected = f"one of {timesteps}" if timesteps else "set_timesteps() to be called first"
            raise InputError(f"got timestep {timestep}, expected {expected}: step along timesteps")
        return timesteps.index(timestep)


def _draw_noise(sample: Tensor, generator: Generator | None) -> Tensor:
    """Draw fp32 noise: on the CPU, so that seeds mean the same everywhere, or with a generator."""
    first = generator[0] if isinstance(generator, list) else generator
    device = torch.device("cpu") if first is None else first.device
    return randn_tensor(sample.shape, generator, device, torch.float32)


def _check_schedule(**config: float | str) -> None:
    """Raise InputError for a schedule other than that of released weights."""
    for name, value in config.items():
        if value != SCHEDULE[name]:
            raise InputError(
                f"got {name} {value!r}, expected {SCHEDULE[name]!r}: ConsistencyScheduler knows "
                "the schedule of Stable Diffusion and VideoCrafter2 only; leave it out, or choose "
                "another scheduler for this model"
            )
