"""What a sampler asks of a U-Net: the noise in latents, with the guidance of its kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from .consistency import guidance_scale_embedding
from .ddim import classifier_free_guidance

EpsModel = Callable[[Tensor, int], Tensor]  # latents [B, 4, T, h, w] and timestep to float32


class VideoUNet(Protocol):
    """A model that predicts the noise in video latents, such as `HummingbirdUNet`."""

    def __call__(
        self,
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        fps: Tensor | float = ...,
        timestep_cond: Tensor | None = ...,
    ) -> Tensor:
        """Return the noise in `sample` `[B, 4, T, h, w]`, in the same shape."""


def distilled_guidance_eps(
    unet: VideoUNet, context: Tensor, scale: float, fps: float | Tensor
) -> EpsModel:
    """Guidance is an input of the U-Net: one call.

    Args:
        unet: with a guidance embedding.
        context: text embedding `[B, 77, C]`, on the U-Net's device and in its dtype.
        scale: of the guidance.
        fps: frames a second, scalar or `[B]`.
    """
    w = guidance_scale_embedding(torch.full((len(context),), float(scale))).to(context)

    def predict(sample: Tensor, t: int) -> Tensor:
        return unet(sample.to(context.dtype), _on(context, t), context, fps, w).float()

    return predict


def cfg_eps(
    unet: VideoUNet,
    context: Tensor,
    empty: Tensor,
    scale: float,
    fps: float | Tensor,
    cfg_start_timestep: int,
) -> EpsModel:
    """Classifier-free guidance: text and no text in one batch.

    Args:
        unet: without a guidance embedding.
        context: as for `distilled_guidance_eps`.
        empty: embedding of the empty prompt, `[1, 77, C]`.
        scale: of the guidance.
        fps: frames a second, scalar or `[B]`.
        cfg_start_timestep: lowest timestep that is guided; below, one call with the text is enough.
    """
    both = torch.cat([context, empty.to(context).expand_as(context)])
    rates = torch.as_tensor(fps, device=context.device).expand(len(context)).repeat(2)

    def predict(sample: Tensor, t: int) -> Tensor:
        is_guided = t >= cfg_start_timestep
        inputs = torch.cat([sample, sample]) if is_guided else sample
        count = len(inputs)
        eps = unet(inputs.to(context.dtype), _on(context, t), both[:count], rates[:count]).float()
        if not is_guided:
            return eps
        with_text, without = eps.chunk(2)
        return classifier_free_guidance(with_text, without, scale)

    return predict


def reporting(predict_noise: EpsModel, report: Callable[[], None]) -> EpsModel:
    """The same; `report` is called after each prediction."""

    def predict(sample: Tensor, t: int) -> Tensor:
        eps = predict_noise(sample, t)
        report()
        return eps

    return predict


def _on(like: Tensor, t: int) -> Tensor:
    """A tensor, because a compiled U-Net would be compiled again for other numbers."""
    return torch.tensor(t, device=like.device)
