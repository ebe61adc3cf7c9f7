"""The VAE, frame by frame, as a VAE that takes and gives whole videos.

ComfyUI's own KL autoencoder raises for a latent with a frame axis, or decodes one frame only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.ldm.models.autoencoder
import comfy.model_management
import comfy.sd
import comfy.utils
import torch
from torch import Tensor

from ...hummingbird_core.errors import CheckpointError
from ...hummingbird_core.vae import vae_config_from_state_dict
from ...hummingbird_core.winograd import use_fast_convolutions

CHUNK_FRAMES = 4
NORM_GROUPS = 32  # the only number that ComfyUI's autoencoder has
# Working memory in feature maps of the first level. Tensors alone take up to 4.3 and 5.1
# (tests/comfy); the rest is for what kernels need.
ENCODE_MEMORY, DECODE_MEMORY = 6.0, 7.0
MIOPEN_RATIO = 2.73  # ComfyUI's own allowance for AMD's convolutions in this network


class FrameWiseAutoencoder(comfy.ldm.models.autoencoder.AutoencoderKL):
    """ComfyUI's image autoencoder, also for videos; a few frames at a time, interruptible."""

    def encode(self, x: Tensor, **kwargs: Any) -> Tensor:
        """`[B, 3, T, H, W]` (or images `[B, 3, H, W]`) to latents."""
        return self._by_chunks(super().encode, x, kwargs)

    def decode(self, z: Tensor, **kwargs: Any) -> Tensor:
        """`[B, C, T, h, w]` (or images `[B, C, h, w]`) to pixels."""
        return self._by_chunks(super().decode, z, kwargs)

    def _by_chunks(self, function: Callable[..., Tensor], x: Tensor, kwargs: Any) -> Tensor:
        if x.ndim == 4:
            return function(x, **kwargs)
        frames = x.transpose(1, 2).flatten(0, 1)  # [B, C, T, H, W] -> [B*T, C, H, W]
        bar = comfy.utils.ProgressBar(len(frames))
        done = []
        for chunk in frames.split(CHUNK_FRAMES):
            comfy.model_management.throw_exception_if_processing_interrupted()
            done.append(function(chunk, **kwargs))
            bar.update(len(chunk))
        # [B*T, C, H, W] -> [B, C, T, H, W]
        return torch.cat(done).unflatten(0, (len(x), -1)).transpose(1, 2)


def build_vae(
    weights: dict[str, Tensor],
    *,
    norm_num_groups: int = NORM_GROUPS,
    dtype: torch.dtype | None = None,
) -> comfy.sd.VAE:
    """A VAE of latent diffusion's weights (keys without prefix).

    Raises:
        CheckpointError: the weights are of something else.
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
    use_fast_convolutions(vae.first_stage_model)
    _describe_as_video(vae, 2 ** (len(channels) - 1), channels[0])
    return vae


def _parameters(config: dict[str, Any]) -> dict[str, Any]:
    """The sizes as ComfyUI's autoencoder takes them."""
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
    """Tells ComfyUI that time is neither compressed nor mixed, and what a chunk costs."""
    vae.latent_dim = 3
    vae.upscale_ratio = (lambda frames: frames, factor, factor)
    vae.downscale_ratio = (lambda frames: frames, factor, factor)
    vae.upscale_index_formula = vae.downscale_index_formula = (1, factor, factor)
    workspace = MIOPEN_RATIO if comfy.model_management.is_amd() else 1.0

    def channel_bytes(shape: tuple[int, ...], dtype: torch.dtype) -> float:
        """Of the frames of a chunk, at the first level's width."""
        frames = min(shape[0] * shape[2], CHUNK_FRAMES)
        return workspace * width * frames * shape[-1] * shape[-2] * dtype.itemsize

    vae.memory_used_encode = lambda shape, dtype: ENCODE_MEMORY * channel_bytes(shape, dtype)
    vae.memory_used_decode = lambda shape, dtype: (
        DECODE_MEMORY * factor**2 * channel_bytes(shape, dtype)
    )
