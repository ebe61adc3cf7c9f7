"""The built-in model's smaller decoders on the latents of its VAE."""

from __future__ import annotations

import math

import comfy.model_management
import comfy.sd
import torch
from torch import Tensor

from ....hummingbird_core.errors import InputError
from ....hummingbird_core.vae import default_chunk_size
from ....hummingbird_core.vae.pruned import load_pruned_decoder
from ....hummingbird_core.vae.tiny import BUILT_IN_DECODERS, FULL_DECODER, find_decoder
from .autoencoder import by_chunks
from .memory import check_frames

DECODERS = (FULL_DECODER, *BUILT_IN_DECODERS)


def decode_small(vae: comfy.sd.VAE, latents: Tensor, kind: str) -> Tensor:
    """Decode a latent `[B, C, T, h, w]` to frames `[B, T, H, W, 3]` in 0..1, on the VAE's device.

    Args:
        vae: of the latents; gives device, dtype and memory.
        latents: divided by their scale, as in a LATENT.
        kind: "middle" or "tiny".

    Raises:
        InputError: the VAE is not the built-in model's.
        CheckpointError: there is no such decoder.
    """
    dtype = vae.vae_dtype
    decoder = load_pruned_decoder(find_decoder(kind), dtype).to(vae.device)
    if not math.isclose(vae.first_stage_model.scaling_factor, decoder.config.scaling_factor):
        raise InputError(
            f"input decoder: got {kind} for another model, expected the built-in one: choose "
            f"{FULL_DECODER}"
        )
    check_frames(tuple(latents.shape))
    comfy.model_management.free_memory(vae.memory_used_decode(latents.shape, dtype), vae.device)
    height, width = (vae.upscale_ratio[1] * side for side in latents.shape[3:])

    @torch.inference_mode()
    def decode(frames: Tensor) -> Tensor:
        return decoder(frames.to(vae.device, dtype)).to(vae.output_device, torch.float32)

    pixels = by_chunks(decode, latents, default_chunk_size(height, width, vae.device))
    return (pixels / 2 + 0.5).clamp(0, 1).movedim(1, -1)  # [B, 3, T, H, W] -> [B, T, H, W, 3]
