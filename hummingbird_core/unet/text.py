"""The text of a forward pass: one for the whole video, or another for each frame.

Shapes: B videos, T frames, K texts of L tokens each, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..errors import InputError
from ..sampling.prompt_schedule import distinct_texts


@dataclass(frozen=True)
class Text:
    """Text tokens that the pixels of a video attend to.

    Attributes:
        tokens: embeddings c of K texts, `[B, K, L, context_dim]`.
        weights: w, `[B, T, K]`: frame t has the text sum_k w_tk c_k. None if there is one text.
    """

    tokens: Tensor
    weights: Tensor | None = None

    @classmethod
    def of(cls, context: Tensor, weights: Tensor | None) -> Text:
        """Return the text of embeddings that `check_text` accepts."""
        if context.ndim == 3:
            return cls(context[:, None])  # [B, L, C] -> [B, 1, L, C]
        if weights is None:
            context, weights = distinct_texts(context)
        return cls(context, weights.to(context))

    def per_frame(self, x: Tensor) -> Tensor:
        """Mix values of the texts, `[B, K, L, C]`, to those of the frames, `[B, 1 or T, L, C]`."""
        if self.weights is None:
            return x
        # [B, T, K] @ [B, K, L*C] -> [B, T, L*C] -> [B, T, L, C]
        return (self.weights @ x.flatten(2)).unflatten(-1, x.shape[2:])


def check_text(
    context: Tensor, weights: Tensor | None, sample_shape: tuple[int, ...], context_dim: int
) -> None:
    """Check the text embeddings of a forward pass.

    Args:
        context: `[B, L, C]`, one text a frame `[B, T, L, C]`, or K texts `[B, K, L, C]`.
        weights: of the K texts in each frame, `[B, T, K]`.
        sample_shape: of the noisy latents, `[B, 4, T, H, W]`.
        context_dim: C.

    Raises:
        InputError: a shape does not fit.
    """
    batch, num_frames = sample_shape[0], sample_shape[2]
    if context.ndim not in (3, 4) or (context.shape[0], context.shape[-1]) != (batch, context_dim):
        raise InputError(
            f"got encoder_hidden_states of shape {tuple(context.shape)}, expected "
            f"[{batch}, L, {context_dim}]: use this model's own text encoder"
        )
    if weights is not None and (
        context.ndim != 4 or tuple(weights.shape) != (batch, num_frames, context.shape[1])
    ):
        raise InputError(
            f"got text_weights of shape {tuple(weights.shape)} for encoder_hidden_states of shape "
            f"{tuple(context.shape)}, expected [B, T, K] for [B, K, L, C]: give the weight of each "
            "text in each frame"
        )
    if weights is None and context.ndim == 4 and context.shape[1] != num_frames:
        raise InputError(
            f"got encoder_hidden_states for {context.shape[1]} frames, expected {num_frames}: give "
            "one text for each frame of the sample, or text_weights that mix them"
        )
