"""Noise predictions of a U-Net for samplers, with the guidance that its kind needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from .clip_frames import WHOLE, ClipEpsModel, ClipFrames
from .consistency import guidance_scale_embedding
from .ddim import classifier_free_guidance

# (noisy latents [B, 4, T, h, w], timestep) -> predicted noise, float32 of the same shape
EpsModel = Callable[[Tensor, int], Tensor]


class VideoUNet(Protocol):
    """A model that predicts the noise in video latents, such as `HummingbirdUNet`."""

    def __call__(
        self,
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        fps: Tensor | float = ...,
        timestep_cond: Tensor | None = ...,
        **clip_inputs: Any,
    ) -> Tensor:
        """Return the noise in `sample` `[B, 4, T, h, w]`, in the same shape."""


def distilled_guidance_eps(
    unet: VideoUNet,
    context: Tensor,
    scale: float,
    fps: float | Tensor,
    text_weights: Tensor | None = None,
) -> ClipEpsModel:
    """Return the noise of a U-Net that takes guidance as an input: one call (arXiv 2210.03142).

    Args:
        unet: with a guidance embedding.
        context: text embedding `[B, 77, C]`, on the U-Net's device and in its dtype; K texts a
            video are `[B, K, 77, C]`.
        scale: of the guidance.
        fps: frames a second, scalar or `[B]`.
        text_weights: of the K texts in each frame of the video, `[B, T, K]`.
    """
    # The scale w in cond + w (cond - uncond), embedded as in LCM: [B, 256].
    w = guidance_scale_embedding(torch.full((len(context),), float(scale))).to(context)

    def predict(sample: Tensor, t: int, clip: ClipFrames = WHOLE) -> Tensor:
        inputs = clip.unet_inputs(text_weights)
        # eps_theta(x_t, t, c, w): the student has learned the guided prediction as one output.
        return unet(sample.to(context.dtype), _on(context, t), context, fps, w, **inputs).float()

    return predict


def cfg_eps(
    unet: VideoUNet,
    context: Tensor,
    empty: Tensor,
    scale: float,
    fps: float | Tensor,
    cfg_start_timestep: int,
    text_weights: Tensor | None = None,
) -> ClipEpsModel:
    """Return the noise under classifier-free guidance (arXiv 2207.12598), both texts in a batch.

    Args:
        unet: without a guidance embedding.
        context: as for `distilled_guidance_eps`.
        empty: embedding of the empty prompt, `[1, 77, C]`.
        scale: of the guidance.
        fps: frames a second, scalar or `[B]`.
        cfg_start_timestep: lowest timestep that is guided (arXiv 2404.07724); below, the text alone
            is predicted.
        text_weights: as for `distilled_guidance_eps`.
    """
    # First with text, then without: [2 B, 77, C], or [2 B, K, 77, C] with weights [2 B, T, K] of
    # sum 1, under which K empty texts are an empty text. Frame rates are [2 B].
    empty = empty.to(context)
    without_text = empty[:, None] if context.ndim == 4 else empty
    both = torch.cat([context, without_text.expand_as(context)])
    both_weights = None if text_weights is None else torch.cat([text_weights, text_weights])
    # One rate for each video of the doubled batch: scalar or [B] -> [B] -> [2 B].
    rates = torch.as_tensor(fps, device=context.device).expand(len(context)).repeat(2)

    def predict(sample: Tensor, t: int, clip: ClipFrames = WHOLE) -> Tensor:
        is_guided = t >= cfg_start_timestep
        inputs = torch.cat([sample, sample]) if is_guided else sample  # [2 B or B, 4, T, h, w]
        count = len(inputs)
        # Without guidance, the first B rows of `both`: the text alone, at half of the work.
        weights = None if both_weights is None else both_weights[:count]
        eps = unet(
            inputs.to(context.dtype),
            _on(context, t),
            both[:count],
            rates[:count],
            **clip.unet_inputs(weights),
        ).float()
        # eps is [2 B or B, 4, T, h, w], float32: the arithmetic of a step is not in half precision.
        if not is_guided:
            return eps
        with_text, without = eps.chunk(2)  # [B, 4, T, h, w] each
        # eps_uncond + s (eps_cond - eps_uncond)
        return classifier_free_guidance(with_text, without, scale)

    return predict


def reporting(predict_noise: ClipEpsModel, report: Callable[[], None]) -> ClipEpsModel:
    """Return `predict_noise`, with a call of `report` after each prediction."""

    def predict(sample: Tensor, t: int, clip: ClipFrames) -> Tensor:
        eps = predict_noise(sample, t, clip)
        report()
        return eps

    return predict


def _on(like: Tensor, t: int) -> Tensor:
    """Return a timestep as a tensor on the device of `like`."""
    # As a Python number, each t would make torch.compile compile the U-Net again.
    return torch.tensor(t, device=like.device)
