"""What a LoRA for a style or subject is trained on, step by step: learn, refine, keep.

A teacher learns by plain noise prediction. A few-step student no longer predicts noise but jumps to
the end of its trajectory, so it learns in three kinds of steps, always told a guidance scale:

- learn: the clean clip from a noisy one, at the timesteps that it samples with, pure noise at the
  last one. There only the caption tells what to show, so that is where a style is decided; but
  there the best answer is a blurred mean of all clips, too.
- refine: at the last timestep its answer should be what it makes of that answer itself one sampling
  step further down, where answers are sharp. This is consistency along its own sampling path; each
  noise keeps leading to a video of its own.
- keep: without the trigger word it answers like the model without the LoRA, also along the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...sampling.consistency import consistency_function
from ...sampling.schedule import add_noise, alphas_cumprod, extract, scale_latents
from ...text.encoder import TextEncoder
from ...unet.model import HummingbirdUNet
from ..data.batch import ClipBatch, ClipSource, batch_of
from ..distillation.losses import pseudo_huber
from ..distillation.noise import (
    LAST_TIMESTEP,
    add_noise_zero_snr,
    grid_timesteps,
    uniform_timesteps,
)
from ..distillation.step import Conditions, student_eps
from ..loop.micro_batch import MicroBatch

GUIDANCE_RANGE = (5.0, 9.0)  # of w: all students know it (5 to 15 at full size, 1 to 9 nano)
NEXT = (24, 44)  # of the grid, t = 499 to 879: where 2 to 8 sampling steps go from the last one
KEEP_FPS = 8.0  # of videos that the model makes up itself

Lesson = Callable[[MicroBatch, ClipBatch], dict[str, Tensor]]


@dataclass(frozen=True)
class Captions:
    """Embeddings of all captions of a run, computed once.

    Attributes:
        embeddings: `[77, C]` by caption.
        trigger: word before the captions; "" if there is none.
    """

    embeddings: dict[str, Tensor]
    trigger: str

    @classmethod
    @torch.no_grad()
    def of(cls, encoder: TextEncoder, captions: Sequence[str], trigger: str) -> Captions:
        """Encodes `captions`, what they are without the trigger, and the empty one."""
        plain = {caption.removeprefix(trigger).strip() for caption in captions}
        texts = sorted({"", *captions, *plain})
        return cls({text: encoder.encode(text).embeddings[0] for text in texts}, trigger)

    def embed(self, captions: Sequence[str], *, with_trigger: bool = True) -> Tensor:
        """Embeddings `[B, 77, C]`."""
        if not with_trigger:
            captions = [caption.removeprefix(self.trigger).strip() for caption in captions]
        return torch.stack([self.embeddings[caption] for caption in captions])


@dataclass(frozen=True)
class TeacherLoss:
    """Noise prediction on the clips; without the trigger, what the model without LoRA predicts.

    Attributes:
        unet: with a LoRA injected.
        clips: what to learn.
        captions: of the clips.
    """

    unet: HummingbirdUNet
    clips: ClipSource
    captions: Captions

    def __call__(self, micro_batch: MicroBatch) -> dict[str, Tensor]:
        batch = read_batch(self.clips, micro_batch, self.captions)
        context = self.captions.embed(batch.captions)
        noise, (u,) = micro_batch.draw(batch.latents.shape[1:], 1, batch.latents.device)
        t = uniform_timesteps(u)
        scaled = self.unet.config.preset == "videocrafter2"
        latents = scale_latents(batch.latents, t) if scaled else batch.latents
        sample = add_noise(latents, noise, t)
        if self.captions.trigger and micro_batch.step % 3 == 2:
            plain = self.captions.embed(batch.captions, with_trigger=False)
            with torch.no_grad(), without_lora(self.unet):
                target = self.unet(sample, t, plain, fps=batch.fps).float()
            return {"keep": self._error(sample, t, plain, batch.fps, target)}
        return {"noise": self._error(sample, t, context, batch.fps, noise)}

    def _error(
        self, sample: Tensor, t: Tensor, context: Tensor, fps: Tensor, target: Tensor
    ) -> Tensor:
        error = self.unet(sample, t, context, fps=fps).float() - target
        if self.unet.config.v_prediction:  # counted as errors in v, which is what it predicts
            error = error / extract(alphas_cumprod().sqrt(), t, error)
        return error.square().mean()


@dataclass(frozen=True)
class StudentLoss:
    """The three kinds of steps of a few-step student; the module says why.

    Attributes:
        unet: with a guidance input, and a LoRA injected.
        clips: what to learn.
        captions: of the clips.
        num_frames: of the videos that it makes up itself.
    """

    unet: HummingbirdUNet
    clips: ClipSource
    captions: Captions
    num_frames: int

    def __call__(self, micro_batch: MicroBatch) -> dict[str, Tensor]:
        lessons: list[Lesson] = [self._learn, self._refine, self._learn]
        if self.captions.trigger:
            lessons.append(self._keep)
        batch = read_batch(self.clips, micro_batch, self.captions)
        return lessons[micro_batch.step % len(lessons)](micro_batch, batch)

    def _learn(self, micro_batch: MicroBatch, batch: ClipBatch) -> dict[str, Tensor]:
        noise, draws = micro_batch.draw(batch.latents.shape[1:], 2, batch.latents.device)
        conditions = self._conditions(self.captions.embed(batch.captions), batch.fps, draws[0])
        t = grid_timesteps(draws[1])
        value = self._value(add_noise_zero_snr(batch.latents, noise, t), t, conditions)
        return {"learn": pseudo_huber(value, batch.latents)}

    def _refine(self, micro_batch: MicroBatch, batch: ClipBatch) -> dict[str, Tensor]:
        start, noise, draws = self._draw_own(micro_batch, batch)
        conditions = self._own_conditions(self.captions.embed(batch.captions), draws[0])
        last = torch.full((len(start),), LAST_TIMESTEP, device=start.device)
        value = self._value(start, last, conditions)
        t = grid_timesteps(draws[1], *NEXT)
        with torch.no_grad():
            target = self._value(add_noise(value.detach(), noise, t), t, conditions)
        return {"refine": pseudo_huber(value, target)}

    def _keep(self, micro_batch: MicroBatch, batch: ClipBatch) -> dict[str, Tensor]:
        start, noise, draws = self._draw_own(micro_batch, batch)
        plain = self.captions.embed(batch.captions, with_trigger=False)
        conditions = self._own_conditions(plain, draws[0])
        last = torch.full((len(start),), LAST_TIMESTEP, device=start.device)
        with torch.no_grad(), without_lora(self.unet):
            first = self._value(start, last, conditions)
            t = torch.where(draws[2] < 0.5, last, grid_timesteps(draws[1]))
            is_last = (t == LAST_TIMESTEP).reshape(-1, 1, 1, 1, 1)
            sample = torch.where(is_last, start, add_noise(first, noise, t))
            target = self._value(sample, t, conditions)
        return {"keep": pseudo_huber(self._value(sample, t, conditions), target)}

    def _value(self, sample: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        return consistency_function(
            sample, student_eps(self.unet, sample, t, conditions).float(), t
        )

    def _draw_own(self, micro_batch: MicroBatch, batch: ClipBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Noise to start from, noise for the way down, three numbers in 0..1 a clip."""
        channels, _, height, width = batch.latents.shape[1:]
        shape = (channels, 2 * self.num_frames, height, width)
        noise, draws = micro_batch.draw(shape, 3, batch.latents.device)
        start, other = noise.chunk(2, dim=2)
        return start, other, draws

    def _own_conditions(self, context: Tensor, u: Tensor) -> Conditions:
        return self._conditions(context, torch.full_like(u, KEEP_FPS), u)

    def _conditions(self, context: Tensor, fps: Tensor, u: Tensor) -> Conditions:
        low, high = GUIDANCE_RANGE
        null = self.captions.embed([""] * len(context))
        return Conditions(context, null, fps, low + (high - low) * u)


def read_batch(clips: ClipSource, micro_batch: MicroBatch, captions: Captions) -> ClipBatch:
    """The clips of a part, on the device of the captions' embeddings."""
    return batch_of(clips, micro_batch).to(captions.embeddings[""].device)


@contextmanager
def without_lora(unet: nn.Module) -> Iterator[None]:
    """The model answers meanwhile as if it had no LoRA."""
    from peft.tuners.lora import LoraLayer

    layers = [layer for layer in unet.modules() if isinstance(layer, LoraLayer)]
    for layer in layers:
        layer.scale_layer(0.0)
    try:
        yield
    finally:
        for layer in layers:
            layer.unscale_layer()
        # It holds weights that were cast without gradient, and would use them again with it.
        torch.clear_autocast_cache()
