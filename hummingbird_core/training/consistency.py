"""Turns a guided many-step teacher into a few-step student.

Stage 1 distils the guided noise prediction into the pruned student (arXiv 2503.18559, section 3.2);
stage 2 makes it consistent along the teacher's DDIM trajectory (LCM, arXiv 2310.04378; T2V-Turbo,
arXiv 2405.18750). In both the guidance scale w is an input of the student, and means
cond + w (cond - uncond).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..ddim import ddim_step
from ..sampling import (
    CONSISTENCY_GRID,
    TRAIN_TIMESTEPS,
    consistency_function,
    guidance_scale_embedding,
    predict_x0,
)
from ..unet import HummingbirdUNet, UNetConfig
from . import shapes
from .diffusion import (
    Teacher,
    noise_between,
    noisy_sample,
    sample_timesteps,
    x0_weight,
    zero_residual_branches,
)
from .latents import clamp_to_range, clip_batch
from .loop import Schedule, seeded, train
from .pruning import prune

GUIDANCE_RANGE = (1.0, 9.0)
HUBER_C = 0.001
GRID_STRIDE = TRAIN_TIMESTEPS // CONSISTENCY_GRID


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
    teacher: HummingbirdUNet, sample: Tensor, t: Tensor, conditions: Conditions
) -> Tensor:
    """The teacher's guided noise prediction, `cond + w (cond - uncond)`, in one batched call."""
    both = torch.cat([conditions.context, conditions.null_context])
    cond, uncond = teacher(
        torch.cat([sample, sample]), torch.cat([t, t]), both, fps=conditions.fps.repeat(2)
    ).chunk(2)
    w = conditions.w.reshape(-1, 1, 1, 1, 1)
    return cond + w * (cond - uncond)


def guided_target(
    teacher: HummingbirdUNet, sample: Tensor, t: Tensor, conditions: Conditions
) -> Tensor:
    """`guided_prediction`, with its clean latents held in the range of pictures.

    Strong guidance overshoots. Nano latents are pictures, so static thresholding works on them
    (Imagen, arXiv 2205.11487, section 2.3).
    """
    eps = guided_prediction(teacher, sample, t, conditions)
    return noise_between(clamp_to_range(predict_x0(sample, eps, t)), sample, t)


def predict(student: HummingbirdUNet, sample: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
    """The student's noise prediction: one call, guidance as an input."""
    w = guidance_scale_embedding(conditions.w)
    return student(sample, t, conditions.context, fps=conditions.fps, timestep_cond=w)


def consistency_pair(
    student: HummingbirdUNet,
    teacher: HummingbirdUNet,
    latents: Tensor,
    noise: Tensor,
    t: Tensor,
    stride: int,
    conditions: Conditions,
) -> tuple[Tensor, Tensor]:
    """The student's value at `t`, and its own value one guided DDIM step of the teacher earlier.

    Consistency means that both are equal; gradients flow through the first only.
    """
    sample = noisy_sample(latents, noise, t)
    value = consistency_function(sample, predict(student, sample, t, conditions), t)
    t_previous = (t - stride).clamp(min=0)
    with torch.no_grad():
        eps = guided_target(teacher, sample, t, conditions)
        previous = ddim_step(predict_x0(sample, eps, t), eps, t, t_previous)
        eps = predict(student, previous, t_previous, conditions)
        target = consistency_function(previous, eps, t_previous)
    return value, target


def pseudo_huber(value: Tensor, target: Tensor, c: float = HUBER_C) -> Tensor:
    """mean(sqrt(d^2 + c^2) - c): near |d|, smooth at zero (arXiv 2310.14189)."""
    return (((value - target).square() + c**2).sqrt() - c).mean()


def distil_output(teacher: Teacher, schedule: Schedule, folder: Path) -> HummingbirdUNet:
    """Stage 1: a pruned student that predicts the teacher's guided noise at any w."""
    student = HummingbirdUNet(UNetConfig.from_preset("hummingbird-nano"))
    zero_residual_branches(student)
    prune(teacher.unet, student)

    def loss(step: int, seed: int) -> dict[str, Tensor]:
        generator = seeded(seed)
        latents, conditions = _draw(teacher, step, seed, generator)
        noise = torch.randn(latents.shape, generator=generator)
        t = sample_timesteps(len(latents), generator)
        sample = noisy_sample(latents, noise, t)
        with torch.no_grad():
            target = guided_target(teacher.unet, sample, t, conditions)
        error = (predict(student, sample, t, conditions) - target).square()
        return {"output": (x0_weight(t) * error.mean(dim=(1, 2, 3, 4))).mean()}

    return train("student", student, loss, schedule, folder)


def distil_consistency(
    teacher: Teacher, student: HummingbirdUNet, schedule: Schedule, folder: Path
) -> HummingbirdUNet:
    """Stage 2: a student that jumps to the end of the teacher's trajectory from any point of it."""
    student.requires_grad_(True)

    def loss(step: int, seed: int) -> dict[str, Tensor]:
        generator = seeded(seed)
        latents, conditions = _draw(teacher, step, seed, generator)
        noise = torch.randn(latents.shape, generator=generator)
        index = torch.randint(1, CONSISTENCY_GRID + 1, (len(latents),), generator=generator)
        value, target = consistency_pair(
            student, teacher.unet, latents, noise, GRID_STRIDE * index - 1, GRID_STRIDE, conditions
        )
        return {"consistency": pseudo_huber(value, target)}

    return train("consistency", student, loss, schedule, folder)


@torch.no_grad()
def _draw(
    teacher: Teacher, step: int, seed: int, generator: torch.Generator
) -> tuple[Tensor, Conditions]:
    """A batch of latents with random guidance; every second one has all frames, the others half."""
    batch = clip_batch(shapes.NUM_FRAMES // (1 + step % 2), seed)
    low, high = GUIDANCE_RANGE
    w = low + (high - low) * torch.rand(len(batch.latents), generator=generator)
    context = teacher.text_encoder.encode(batch.captions).embeddings
    null = teacher.text_encoder.encode("").embeddings.expand_as(context)
    return batch.latents, Conditions(context, null, batch.fps, w)
