"""What a student makes itself, to be trained on: the samples that it will meet when it is used.

On-policy distillation (arXiv 2306.13649). Noisy clips of a data set are what a perfect student
would meet; a real one meets its own mistakes, and has to go on from them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor, nn

from ...sampling.consistency import consistency_step, consistency_timesteps
from ...unet.model import HummingbirdUNet
from .guidance import Conditions, predict
from .noise import sampling_timesteps


def rollout(
    student: HummingbirdUNet, noises: Tensor, u: Tensor, conditions: Conditions, told: bool
) -> tuple[Tensor, Tensor]:
    """Where the student's own consistency sampling is after some of its steps; no gradient.

    Args:
        student: not changed; asked as it is used, without dropout.
        noises: `[B, steps, 4, T, h, w]`: where it starts, then what each step adds.
        u: numbers `[B]` in 0..1, from which clips that have taken no step yet to those that
            have taken all but the last.
        conditions: of the clips.
        told: whether the student is told its guidance.

    Returns:
        samples `[B, 4, T, h, w]` and their timesteps `[B]`.
    """
    steps = noises.shape[1]
    t_end = sampling_timesteps(u, steps).to(noises.device)
    sample = noises[:, 0]
    with _as_used(student):
        for i, (t, t_next) in enumerate(pairwise(consistency_timesteps(steps).tolist())):
            now = torch.full_like(t_end, t)
            eps = predict(student, sample, now, conditions, told=told).float()
            later, _ = consistency_step(sample, eps, t, t_next, noises[:, i + 1])
            goes_on = (t_end < t).reshape(-1, 1, 1, 1, 1)  # [B] -> [B, 1, 1, 1, 1]
            # All clips take all steps: a sharded student needs as many calls in every process.
            sample = torch.where(goes_on, later, sample)
    return sample, t_end


@contextmanager
def _as_used(student: nn.Module) -> Iterator[None]:
    """No gradients and no dropout meanwhile."""
    was_training = student.training
    student.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        student.train(was_training)
        # It holds weights that were cast without gradient, and would use them again with it.
        torch.clear_autocast_cache()
