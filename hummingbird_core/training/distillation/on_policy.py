"""On-policy samples: what the student's own sampler reaches, to be trained on.

On-policy distillation (arXiv 2306.13649). Noised clips of a data set are the inputs of a perfect
student; a real one meets its own mistakes, and has to go on from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor, nn

from ...sampling.consistency import consistency_step, consistency_timesteps
from .noise import sampling_timesteps


def rollout(
    student: nn.Module,
    predict_eps: Callable[[Tensor, Tensor], Tensor],
    noises: Tensor,
    u: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return the student's own samples part of the way down its sampling steps, without gradient.

    Args:
        student: left as it is; runs without dropout, as in use.
        predict_eps: the student's noise prediction for a sample `[B, 4, T, h, w]` at timesteps `t`
            `[B]`.
        noises: `[B, steps, 4, T, h, w]`: the starting noise, then the noise each step adds.
        u: numbers `[B]` in 0..1: 0 has taken no step, just below 1 all steps but the last.

    Returns:
        samples `[B, 4, T, h, w]` and their timesteps `[B]`.
    """
    steps = noises.shape[1]
    t_end = sampling_timesteps(u, steps).to(noises.device)  # [B]
    sample = noises[:, 0]  # x_999 = eps, [B, 4, T, h, w]
    with inference_mode_of(student):
        for i, (t, t_next) in enumerate(pairwise(consistency_timesteps(steps).tolist())):
            eps = predict_eps(sample, torch.full_like(t_end, t)).float()
            # x_{t_next} = alpha f(x_t, t) + sigma noise_i
            later, _ = consistency_step(sample, eps, t, t_next, noises[:, i + 1])
            goes_on = (t_end < t).reshape(-1, 1, 1, 1, 1)  # [B] -> [B, 1, 1, 1, 1]
            # All clips take all steps: a sharded student needs the same calls in every process.
            sample = torch.where(goes_on, later, sample)
    return sample, t_end


@contextmanager
def inference_mode_of(student: nn.Module) -> Iterator[None]:
    """Disable gradients and dropout inside the block."""
    was_training = student.training
    student.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        student.train(was_training)
        # Autocast would reuse the weights it cast without gradient.
        torch.clear_autocast_cache()
