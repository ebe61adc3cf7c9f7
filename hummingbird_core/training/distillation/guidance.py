"""What teacher and student say of noisy clips: one is guided, the other is told how strongly.

The guidance scale w means cond + w (cond - uncond), in all of training.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...sampling.consistency import guidance_scale_embedding
from ...unet.model import HummingbirdUNet


@dataclass(frozen=True)
class Conditions:
    """What teacher and student are told about a batch.

    Attributes:
        context: text embedding `[B, 77, C]`.
        null_context: that of the empty prompt, same shape.
        fps: `[B]`.
        w: guidance scales `[B]`.
    """

    context: Tensor
    null_context: Tensor
    fps: Tensor
    w: Tensor


def guided_prediction(
    teacher: HummingbirdUNet,
    sample: Tensor,
    t: Tensor,
    conditions: Conditions,
    *,
    guided_from: int = 0,
) -> Tensor:
    """The teacher's guided noise prediction, `cond + w (cond - uncond)`, in one batched call.

    At timesteps below `guided_from` it is `cond` (arXiv 2404.07724), and no more is computed if all
    of them are.
    """
    if guided_from and t.max() < guided_from:
        return teacher(sample, t, conditions.context, fps=conditions.fps)
    both = torch.cat([conditions.context, conditions.null_context])
    cond, uncond = teacher(
        torch.cat([sample, sample]), torch.cat([t, t]), both, fps=conditions.fps.repeat(2)
    ).chunk(2)
    w = (conditions.w * (t >= guided_from)).reshape(-1, 1, 1, 1, 1)  # [B] -> [B, 1, 1, 1, 1]
    return cond + w * (cond - uncond)


def predict(
    student: HummingbirdUNet,
    sample: Tensor,
    t: Tensor,
    conditions: Conditions,
    *,
    told: bool = True,
) -> Tensor:
    """The student's noise prediction: one call, guidance as an input if it is told any."""
    w = guidance_scale_embedding(conditions.w) if told else None
    return student(sample, t, conditions.context, fps=conditions.fps, timestep_cond=w)
