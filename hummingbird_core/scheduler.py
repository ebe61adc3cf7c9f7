"""Consistency sampling as a diffusers scheduler; the arithmetic is in `sampling`."""

from __future__ import annotations

from dataclasses import dataclass

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
from .sampling.schedule import add_noise

__all__ = ["ConsistencyScheduler", "ConsistencySchedulerOutput", "guidance_scale_embedding"]


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

    It has no settings: released weights know this one schedule. Take `denoised` of the last step as
    the result. As in the original, `prev_sample` of the last of several steps is noised once more,
    to the level that it came from, and that of a single step is `denoised`.
    """

    order = 1
    init_noise_sigma = 1.0

    @register_to_config
    def __init__(self) -> None:
        self.timesteps = torch.empty(0, dtype=torch.int64)

    def set_timesteps(
        self, num_inference_steps: int, device: torch.device | str | None = None
    ) -> None:
        """Set `timesteps`, falling, `[num_inference_steps]` int64.

        Raises:
            InputError: the number of steps is not from 1 to 50.
        """
        self.timesteps = consistency_timesteps(num_inference_steps).to(device)

    def scale_model_input(self, sample: Tensor, timestep: Tensor | int | None = None) -> Tensor:
        """Return the sample as it is: this schedule's latents have unit variance at the start."""
        return sample

    def step(
        self,
        model_output: Tensor,
        timestep: Tensor | int,
        sample: Tensor,
        noise: Tensor | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        return_dict: bool = True,
    ) -> ConsistencySchedulerOutput | tuple[Tensor, Tensor]:
        """Take one consistency step.

        Args:
            model_output: predicted noise `[B, 4, T, H, W]`.
            timestep: one of `timesteps`.
            sample: the latents that it was predicted in.
            noise: noise to add; by default it is drawn, always on the CPU.
            generator: CPU generator to draw from, or one for each video.
            return_dict: whether to return an object; else a tuple of its fields.

        Raises:
            InputError: `timestep` is not one of `timesteps`.
        """
        index = self._index(int(timestep))
        t, last = int(timestep), len(self.timesteps) - 1
        if last == 0:
            denoised = prev_sample = consistency_function(sample, model_output, t)
        else:
            if noise is None:
                noise = randn_tensor(sample.shape, generator, torch.device("cpu"), torch.float32)
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
