"""An image VAE as ComfyUI's VAE for videos, applied frame by frame.

ComfyUI's own KL autoencoder raises for a latent with a frame axis, or decodes one frame only.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import comfy.ldm.models.autoencoder
import comfy.model_management
import comfy.sd
import comfy.utils
import torch
from torch import Tensor

from ....hummingbird_core.cpu import accelerate_for_cpu
from ....hummingbird_core.errors import CheckpointError
from ....hummingbird_core.vae import (
    SCALING_FACTOR,
    default_chunk_size,
    vae_config_from_state_dict,
)
from .memory import check_frames

NORM_GROUPS = 32  # fixed in ComfyUI's autoencoder
# Working memory in feature maps of the first level. Tensors alone take up to 4.3 and 5.1
# (tests/comfy); the rest is for what kernels need.
ENCODE_MEMORY, DECODE_MEMORY = 6.0, 7.0
MIOPEN_RATIO = 2.73  # ComfyUI's own allowance for AMD's convolutions in this network


class FrameWiseAutoencoder(comfy.ldm.models.autoencoder.AutoencoderKL):
    """ComfyUI's image autoencoder on videos: a few frames at a time, interruptible."""

    def encode(self, x: Tensor, **kwargs: Any) -> Tensor:
        """Encode `[B, 3, T, H, W]` (or images `[B, 3, H, W]`) to latents."""
        if x.ndim == 4:
            return super().encode(x, **kwargs)
        encode = functools.partial(super().encode, **kwargs)
        return by_chunks(encode, x, default_chunk_size(*x.shape[3:], x.device))

    def decode(self, z: Tensor, **kwargs: Any) -> Tensor:
        """Decode `[B, C, T, h, w]` (or images `[B, C, h, w]`) to pixels."""
        if z.ndim == 4:
            return super().decode(z, **kwargs)
        check_frames(tuple(z.shape))
        decode = functools.partial(super().decode, **kwargs)
        factor = 2 ** (self.decoder.num_resolutions - 1)
        height, width = (factor * side for side in z.shape[3:])
        return by_chunks(decode, z, default_chunk_size(height, width, z.device))


def by_chunks(function: Callable[[Tensor], Tensor], x: Tensor, size: int) -> Tensor:
    """Apply a function of images to all frames of `[B, C, T, H, W]`, `size` at a time."""
    frames = x.transpose(1, 2).flatten(0, 1)  # [B, C, T, H, W] -> [B*T, C, H, W]
    bar = comfy.utils.ProgressBar(len(frames))
    done: Tensor | None = None
    for start in range(0, len(frames), size):
        comfy.model_management.throw_exception_if_processing_interrupted()
        chunk = function(frames[start : start + size])
        if done is None:  # the output shape is known from the first chunk
            done = chunk.new_empty(len(frames), *chunk.shape[1:])
        done[start : start + size] = chunk
        bar.update(len(chunk))
    # [B*T, C, H, W] -> [B, C, T, H, W]
    return done.unflatten(0, (len(x), -1)).transpose(1, 2)


def build_vae(
    weights: dict[str, Tensor],
    *,
    scaling_factor: float = SCALING_FACTOR,
    norm_num_groups: int = NORM_GROUPS,
    dtype: torch.dtype | None = None,
) -> comfy.sd.VAE:
    """Build a VAE from latent diffusion's weights (keys without prefix).

    `scaling_factor` is that of the latents, by which a smaller decoder knows its model.

    Raises:
        CheckpointError: the weights are of another network.
    """
    config = vae_config_from_state_dict(weights)
    if norm_num_groups != NORM_GROUPS:
        raise CheckpointError(
            f"got a VAE with {norm_num_groups} groups in its norms, expected {NORM_GROUPS}: "
            "ComfyUI has no other, use `hummingbird generate` for this checkpoint"
        )
    channels = config["block_out_channels"]
    vae = comfy.sd.VAE(sd=weights, config={"params": _parameters(config)}, dtype=dtype)
    # ComfyUI has built the network and placed it; the subclass only adds the frame axis.
    vae.first_stage_model.__class__ = FrameWiseAutoencoder
    vae.first_stage_model.scaling_factor = scaling_factor
    accelerate_for_cpu(vae.first_stage_model)
    _describe_as_video(vae, 2 ** (len(channels) - 1), channels[0])
    return vae


def _parameters(config: dict[str, Any]) -> dict[str, Any]:
    """Return the config in the terms of ComfyUI's autoencoder."""
    first = config["block_out_channels"][0]
    return {
        "embed_dim": config["latent_channels"],
        "ddconfig": {
            "double_z": True,
            "z_channels": config["latent_channels"],
            "resolution": 256,
            "in_channels": config["in_channels"],
            "out_ch": config["out_channels"],
            "ch": first,
            "ch_mult": [width // first for width in config["block_out_channels"]],
            "num_res_blocks": config["layers_per_block"],
            "attn_resolutions": [],
            "dropout": 0.0,
        },
    }


def _describe_as_video(vae: comfy.sd.VAE, factor: int, width: int) -> None:
    """Set the VAE's video attributes: no compression in time, and the memory of a chunk."""
    vae.latent_dim = 3
    vae.upscale_ratio = (lambda frames: frames, factor, factor)
    vae.downscale_ratio = (lambda frames: frames, factor, factor)
    vae.upscale_index_formula = vae.downscale_index_formula = (1, factor, factor)
    workspace = MIOPEN_RATIO if comfy.model_management.is_amd() else 1.0

    def channel_bytes(shape: tuple[int, ...], scale: int, dtype: torch.dtype) -> float:
        """Return the bytes of a chunk's first-level features; `scale` times `shape` is pixels."""
        rows, columns = scale * shape[-2], scale * shape[-1]
        frames = min(shape[0] * shape[2], default_chunk_size(rows, columns, vae.device))
        return workspace * width * frames * rows * columns * dtype.itemsize

    vae.memory_used_encode = lambda shape, dtype: ENCODE_MEMORY * channel_bytes(shape, 1, dtype)
    vae.memory_used_decode = lambda shape, dtype: (
        DECODE_MEMORY * channel_bytes(shape, factor, dtype)
    )
