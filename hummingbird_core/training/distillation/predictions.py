"""Student and teacher of a distillation, their conditions, and the noise they predict.

Shapes as in `step`: B clips of T frames; latents `[B, 4, T, h, w]`; t, fps and w `[B]`; text
embeddings `[B, 77, C]`. The guidance scale w means cond + w (cond - uncond).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from ...pipeline.prompts import encode_prompts
from ...sampling.consistency import guidance_scale_embedding
from ...sampling.prompt_schedule import FRAMES_ONLY
from ...sampling.schedule import TRAIN_TIMESTEPS
from ...text.encoder import TextEncoder
from ...unet.model import HummingbirdUNet
from ..data.batch import ClipBatch
from ..data.captions import CaptionCheck

ALL_TIMESTEPS = range(TRAIN_TIMESTEPS)


@dataclass(frozen=True)
class Models:
    """The student in training, and the frozen models it learns from.

    Attributes:
        student: U-Net in training.
        teacher: U-Net without guidance input.
        text_encoder: encodes the captions, for both.
        kept_blocks: student block -> teacher block whose outputs are compared; may be empty.
        clamp_latents: clamps scaled latents to the range of images; needed for
            `NoiseConfig.clip_denoised` only.
        critics: models that objectives train in turn with the student, by name.
        captions: reports captions that the text encoder cannot use.
    """

    student: HummingbirdUNet
    teacher: HummingbirdUNet
    text_encoder: TextEncoder
    kept_blocks: Mapping[str, str] = field(default_factory=dict)
    clamp_latents: Callable[[Tensor], Tensor] | None = None
    critics: dict[str, nn.Module] = field(default_factory=dict)
    captions: CaptionCheck = field(default_factory=CaptionCheck)

    @cached_property
    def null_context(self) -> Tensor:
        """Embedding of the empty prompt, `[1, 77, C]`."""
        with torch.no_grad():
            return self.text_encoder.encode("").embeddings

    @torch.no_grad()
    def embed(self, captions: list[str], num_frames: int) -> Tensor:
        """Encode captions; what cannot be encoded is said once a run.

        Args:
            captions: B of them, perhaps with times in frames.
            num_frames: T.

        Returns:
            `[B, 77, C]`, or if a caption has times those of each frame, `[B, T, 77, C]`.
        """
        encoded = encode_prompts(self.text_encoder, captions, num_frames, FRAMES_ONLY, warn=False)
        self.captions.report(encoded.report)
        return encoded.per_frame()


@dataclass(frozen=True)
class Conditions:
    """Inputs of student and teacher, apart from noisy latents and timestep.

    Attributes:
        context: text embeddings `[B, 77, C]`, or one text a frame `[B, T, 77, C]`.
        null_context: embedding of the empty prompt, same shape.
        fps: frame rates `[B]`.
        w: guidance scales `[B]`.
        loop: whether the first frame of the clips follows their last one.
    """

    context: Tensor
    null_context: Tensor
    fps: Tensor
    w: Tensor
    loop: bool = False

    @property
    def switches(self) -> dict[str, bool]:
        """Keyword arguments of a U-Net call that are not its defaults."""
        return {"loop": True} if self.loop else {}


@torch.no_grad()
def encode_conditions(models: Models, batch: ClipBatch, w: Tensor) -> Conditions:
    """Encode the captions of a batch."""
    context = models.embed(batch.captions, batch.latents.shape[2])  # [B, 77, C]
    null_context = models.null_context.expand_as(context)
    return Conditions(context, null_context, batch.fps, w, batch.loop)


def student_eps(
    student: HummingbirdUNet,
    sample: Tensor,
    t: Tensor,
    conditions: Conditions,
    *,
    condition_on_guidance: bool = True,
) -> Tensor:
    """Return the student's noise eps_theta(x_t, t, c, w); without w if guidance is baked in."""
    # w enters as sinusoids, like t (LCM, arXiv 2310.04378, section 4.2): [B] -> [B, 256]
    embedding = guidance_scale_embedding(conditions.w) if condition_on_guidance else None
    return student(
        sample,
        t,
        conditions.context,
        fps=conditions.fps,
        timestep_cond=embedding,
        **conditions.switches,
    )


def teacher_eps(
    teacher: HummingbirdUNet,
    sample: Tensor,
    t: Tensor,
    conditions: Conditions,
    *,
    guided: range = ALL_TIMESTEPS,
) -> Tensor:
    """Return the teacher's guided noise, cond + w (cond - uncond), from one batched call.

    Outside the timesteps `guided` it is cond (guidance in a limited interval, arXiv 2404.07724);
    uncond is not computed if that holds for the whole batch.
    """
    is_guided = (t >= guided.start) & (t < guided.stop)  # [B]
    if guided != ALL_TIMESTEPS and not is_guided.any():
        return teacher(sample, t, conditions.context, fps=conditions.fps, **conditions.switches)
    # Both passes as one batch: the first half with text, the second without.
    both = torch.cat([conditions.context, conditions.null_context])  # [2B, 77, C]
    cond, uncond = teacher(
        torch.cat([sample, sample]),
        torch.cat([t, t]),
        both,
        fps=conditions.fps.repeat(2),
        **conditions.switches,
    ).chunk(2)  # [2B, 4, T, h, w] -> twice [B, 4, T, h, w]
    # w_t = w at guided timesteps, else 0.
    w = (conditions.w * is_guided).reshape(-1, 1, 1, 1, 1)  # [B] -> [B, 1, 1, 1, 1]
    return cond + w * (cond - uncond)
