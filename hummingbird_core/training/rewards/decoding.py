"""Differentiable decoding of latents for a reward model, in little memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from einops import rearrange
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ...vae.codec import decode_latents

if TYPE_CHECKING:
    from diffusers.models import AutoencoderKL, AutoencoderTiny


def decode_for_reward(
    vae: AutoencoderKL | AutoencoderTiny, latents: Tensor, indices: Tensor, chunk: int = 1
) -> Tensor:
    """Decode some frames; gradients flow back to `latents`.

    Activations of the decoder are recomputed in the backward pass, `chunk` frames at a time
    (gradient checkpointing), so that they take the memory of `chunk` frames, not of all.

    Args:
        vae: frozen, or a smaller decoder.
        latents: `[B, C, T, h, w]`, scaled.
        indices: `[K]`, of the frames to decode.
        chunk: frames decoded at once; does not change the result.

    Returns:
        float32 `[B, 3, K, 8h, 8w]` in about -1..1.

    Raises:
        InputError: `chunk` is less than 1.
    """
    chosen = latents[:, :, indices.to(latents.device)]
    images = rearrange(chosen, "b c k h w -> (b k) c 1 h w")

    def decode(part: Tensor) -> Tensor:
        return decode_latents(vae, part, decode_chunk_size=chunk)

    # The decoder draws no random numbers, so there is no random state to restore.
    decoded = [
        checkpoint(decode, part, use_reentrant=False, preserve_rng_state=False)
        for part in images.split(max(1, chunk))
    ]
    return rearrange(torch.cat(decoded), "(b k) c 1 h w -> b c k h w", b=len(latents))
