"""Losses of a LoRA for a style or subject: denoise, self-consistency, prior preservation.

A teacher learns by plain noise prediction. A few-step student predicts the end of its trajectory
instead of noise, so it learns in three kinds of steps, each conditioned on a guidance scale:

- denoise (logged as "learn"): predict the clean clip from a noisy one at the sampling timesteps,
  from pure noise at the last one. There the caption is the only information, so that step decides
  the style; but its optimum is a blurred mean of all clips.
- self-consistency (logged as "refine"): the prediction at the last timestep should equal the
  prediction one sampling step further, made from it, where predictions are sharp. This is
  consistency along the sampling path of the model; every noise keeps leading to a different video.
- prior preservation (logged as "keep"): without the trigger word, predict what the model without
  the LoRA predicts, at all timesteps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...inputs.timed_captions import texts_of
from ...sampling.consistency import consistency_function
from ...sampling.prompt_schedule import FRAMES_ONLY, mix_texts, prompt_texts
from ...sampling.schedule import add_noise, alphas_cumprod, extract, scale_latents
from ...text.encoder import TextEncoder
from ...unet.model import HummingbirdUNet
from ..data.batch import ClipBatch, ClipSource, batch_of
from ..data.captions import CaptionCheck
from ..distillation.losses import pseudo_huber
from ..distillation.noise import (
    LAST_TIMESTEP,
    add_noise_zero_snr,
    grid_timesteps,
    uniform_timesteps,
)
from ..distillation.predictions import Conditions, student_eps
from ..loop.micro_batch import MicroBatch

# Of w: students are trained on 5 to 15 (full size) and 1 to 9 (nano).
GUIDANCE_RANGE = (5.0, 9.0)
# Indices n of the grid t_n = 20 (n + 1) - 1, the upper one excluded: t from 499 to 879, the second
# timestep of 2 to 8 sampling steps.
NEXT_TIMESTEPS = (24, 44)
GENERATED_FPS = 8.0  # frame rate of generated videos

StepLoss = Callable[[MicroBatch, ClipBatch], dict[str, Tensor]]


@dataclass(frozen=True)
class Captions:
    """Embeddings of all captions of a run, computed once.

    Attributes:
        embeddings: `[77, C]` by caption.
        trigger: word before the captions; "" for none.
    """

    embeddings: dict[str, Tensor]
    trigger: str

    @classmethod
    @torch.no_grad()
    def encode(cls, encoder: TextEncoder, captions: Sequence[str], trigger: str) -> Captions:
        """Encode the texts of captions, with and without the trigger, and the empty caption."""
        written = {text for caption in captions for text in texts_of(caption)}
        plain = {text.removeprefix(trigger).strip() for text in written}
        texts = sorted({"", *written, *plain})
        CaptionCheck(expected=trigger.split()).check(encoder, captions)
        embeddings = {text: encoder.encode(text, warn=False).embeddings[0] for text in texts}
        return cls(embeddings, trigger)

    def embed(
        self, captions: Sequence[str], num_frames: int, *, with_trigger: bool = True
    ) -> Tensor:
        """Return embeddings `[B, 77, C]`, or of each of T frames if a caption has times."""
        texts, weights = prompt_texts(captions, num_frames, FRAMES_ONLY)
        if not with_trigger:
            texts = [[text.removeprefix(self.trigger).strip() for text in own] for own in texts]
        # B times K times [77, C] -> [B, K, 77, C]
        stacked = torch.stack([torch.stack([self.embeddings[t] for t in own]) for own in texts])
        return stacked[:, 0] if weights is None else mix_texts(stacked, weights)


@dataclass(frozen=True)
class TeacherLoss:
    """Noise prediction on the clips; every third step preserves the prior without the trigger.

    Attributes:
        unet: U-Net with a LoRA injected.
        clips: training clips.
        captions: embeddings of the captions.
    """

    unet: HummingbirdUNet
    clips: ClipSource
    captions: Captions

    def __call__(self, micro_batch: MicroBatch) -> dict[str, Tensor]:
        """Return {"noise": loss}, or {"keep": loss} for a step that preserves the prior."""
        batch = read_batch(self.clips, micro_batch, self.captions)
        frames = batch.latents.shape[2]
        context = self.captions.embed(batch.captions, frames)
        noise, (u,) = micro_batch.draw(batch.latents.shape[1:], 1, batch.latents.device)
        t = uniform_timesteps(u)
        scaled = self.unet.config.dynamic_rescale
        latents = scale_latents(batch.latents, t) if scaled else batch.latents
        # x_t = alpha_t x_0 + sigma_t eps
        sample = add_noise(latents, noise, t)
        # Every third step keeps the prior: |eps(x_t, c') - eps_0(x_t, c')|^2. eps_0 is predicted
        # without the LoRA, and c' is the caption without the trigger.
        if self.captions.trigger and micro_batch.step % 3 == 2:
            plain = self.captions.embed(batch.captions, frames, with_trigger=False)
            with torch.no_grad(), without_lora(self.unet):
                target = self.unet(sample, t, plain, fps=batch.fps).float()
            return {"keep": self._error(sample, t, plain, batch.fps, target)}
        # |eps_theta(x_t, t, c) - eps|^2
        return {"noise": self._error(sample, t, context, batch.fps, noise)}

    def _error(
        self, sample: Tensor, t: Tensor, context: Tensor, fps: Tensor, target: Tensor
    ) -> Tensor:
        error = self.unet(sample, t, context, fps=fps).float() - target
        # eps = sigma_t x_t + alpha_t v, so an error in eps is alpha_t times that in v.
        if self.unet.config.v_prediction:
            error = error / extract(alphas_cumprod().sqrt(), t, error)
        return error.square().mean()


@dataclass(frozen=True)
class StudentLoss:
    """The three kinds of steps of a few-step student; see the module docstring.

    Attributes:
        unet: U-Net with a guidance input and a LoRA injected.
        clips: training clips.
        captions: embeddings of the captions.
        num_frames: length of the generated videos.
    """

    unet: HummingbirdUNet
    clips: ClipSource
    captions: Captions
    num_frames: int

    def __call__(self, micro_batch: MicroBatch) -> dict[str, Tensor]:
        """Return {"learn": ...}, {"refine": ...} or {"keep": ...}, depending on the step."""
        # Below, d(a, b) is the pseudo-Huber distance: the mean of sqrt((a - b)^2 + c^2) - c.
        losses: list[StepLoss] = [self._denoise, self._self_consistency, self._denoise]
        if self.captions.trigger:
            losses.append(self._prior_preservation)
        batch = read_batch(self.clips, micro_batch, self.captions)
        return losses[micro_batch.step % len(losses)](micro_batch, batch)

    def _denoise(self, micro_batch: MicroBatch, batch: ClipBatch) -> dict[str, Tensor]:
        noise, draws = micro_batch.draw(batch.latents.shape[1:], 2, batch.latents.device)
        context = self.captions.embed(batch.captions, batch.latents.shape[2])
        conditions = self._conditions(context, batch.fps, draws[0])
        t = grid_timesteps(draws[1])
        # d(f(x_t, t, c, w), x_0); x_t is pure noise at t = 999.
        value = self._predict_x0(add_noise_zero_snr(batch.latents, noise, t), t, conditions)
        return {"learn": pseudo_huber(value, batch.latents)}

    def _self_consistency(self, micro_batch: MicroBatch, batch: ClipBatch) -> dict[str, Tensor]:
        start, noise, draws = self._draw_noise(micro_batch, batch)
        context = self.captions.embed(batch.captions, self.num_frames)
        conditions = self._generated_conditions(context, draws[0])
        last = torch.full((len(start),), LAST_TIMESTEP, device=start.device)
        # x_0' = f(x_999, 999), with gradient
        value = self._predict_x0(start, last, conditions)
        # t of the next sampling step, whose number of steps is not known in training
        t = grid_timesteps(draws[1], *NEXT_TIMESTEPS)
        # d(x_0', f(alpha_t x_0' + sigma_t eps, t)): one step further on, predictions are sharper.
        with torch.no_grad():
            target = self._predict_x0(add_noise(value.detach(), noise, t), t, conditions)
        return {"refine": pseudo_huber(value, target)}

    def _prior_preservation(self, micro_batch: MicroBatch, batch: ClipBatch) -> dict[str, Tensor]:
        start, noise, draws = self._draw_noise(micro_batch, batch)
        plain = self.captions.embed(batch.captions, self.num_frames, with_trigger=False)
        conditions = self._generated_conditions(plain, draws[0])
        last = torch.full((len(start),), LAST_TIMESTEP, device=start.device)
        with torch.no_grad(), without_lora(self.unet):
            # Inputs are the model's own videos: half of them at t = 999, where x_t is pure noise,
            # the others at any timestep of the grid.
            first = self._predict_x0(start, last, conditions)
            t = torch.where(draws[2] < 0.5, last, grid_timesteps(draws[1]))
            is_last = (t == LAST_TIMESTEP).reshape(-1, 1, 1, 1, 1)  # [B] -> [B, 1, 1, 1, 1]
            sample = torch.where(is_last, start, add_noise(first, noise, t))
            target = self._predict_x0(sample, t, conditions)
        # d(f(x_t, t), f_0(x_t, t)), f_0 without the LoRA
        return {"keep": pseudo_huber(self._predict_x0(sample, t, conditions), target)}

    def _predict_x0(self, sample: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        # f(x_t, t) = c_skip x_t + c_out (x_t - sigma_t eps_theta) / alpha_t
        return consistency_function(
            sample, student_eps(self.unet, sample, t, conditions).float(), t
        )

    def _draw_noise(
        self, micro_batch: MicroBatch, batch: ClipBatch
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Draw initial noise, step noise, and three uniform numbers per clip."""
        channels, _, height, width = batch.latents.shape[1:]
        shape = (channels, 2 * self.num_frames, height, width)
        # One draw per clip, for the same numbers whatever the size of the micro-batch.
        noise, draws = micro_batch.draw(shape, 3, batch.latents.device)
        # [B, C, 2 T, h, w] -> twice [B, C, T, h, w]
        start, other = noise.chunk(2, dim=2)
        return start, other, draws

    def _generated_conditions(self, context: Tensor, u: Tensor) -> Conditions:
        return self._conditions(context, torch.full_like(u, GENERATED_FPS), u)

    def _conditions(self, context: Tensor, fps: Tensor, u: Tensor) -> Conditions:
        low, high = GUIDANCE_RANGE
        null = self.captions.embed([""] * len(context), num_frames=1).expand_as(context)
        # w ~ U(low, high)
        return Conditions(context, null, fps, low + (high - low) * u)


def read_batch(clips: ClipSource, micro_batch: MicroBatch, captions: Captions) -> ClipBatch:
    """Return the clips of a micro-batch on the device of the captions' embeddings."""
    return batch_of(clips, micro_batch).to(captions.embeddings[""].device)


@contextmanager
def without_lora(unet: nn.Module) -> Iterator[None]:
    """Disable the LoRA of `unet` inside the `with` block."""
    from peft.tuners.lora import LoraLayer

    layers = [layer for layer in unet.modules() if isinstance(layer, LoraLayer)]
    for layer in layers:
        layer.scale_layer(0.0)
    try:
        yield
    finally:
        for layer in layers:
            layer.unscale_layer()
        # The cache holds weights that were cast without gradient and must not be reused with it.
        torch.clear_autocast_cache()
