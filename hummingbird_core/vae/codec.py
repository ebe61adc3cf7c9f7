"""The image autoencoder (KL-f8 of latent diffusion, arXiv 2112.10752), applied frame by frame.

The network is diffusers' `AutoencoderKL`; checkpoints use the key names of the original latent
diffusion code. Videos are decoded and encoded in chunks that fit into memory.

Precision: decoding runs in the VAE's own dtype. The activations of Stable Diffusion's VAE can
exceed what float16 holds and then turn into NaN (black frames): use bfloat16 or float32.

Shapes: B videos, T frames, N frames of a chunk, C latent channels, H x W pixels, h x w latent
pixels (H = 8h, W = 8w for KL-f8).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import torch
from einops import rearrange
from torch import Tensor

from ..cpu import accelerate_for_cpu
from ..cpu.vae_decoder import decode_images
from ..errors import CheckpointError, InputError, NumericalError
from ..weights.state_dict import validate_state_dict
from .names import count_indices, diffusers_to_ldm, ldm_to_diffusers

if TYPE_CHECKING:
    from diffusers.models import AutoencoderKL, AutoencoderTiny

SCALING_FACTOR = 0.18215
"""One over the standard deviation of Stable Diffusion's latents."""
# Pixels decoded per batch: four frames of 320x512; on a CPU one, where batches gain nothing.
CHUNK_PIXELS, CHUNK_PIXELS_CPU = 4 * 320 * 512, 2**18

MAX_LEVELS, MAX_BLOCKS = 8, 16  # residual blocks of a level
_TRAINING_ONLY = ("loss.", "model_ema.")


# --- loading -------------------------------------------------------------------------------------


def load_vae(
    state_dict: Mapping[str, Tensor],
    *,
    scaling_factor: float = SCALING_FACTOR,
    norm_num_groups: int = 32,
    latents_are_images: bool = False,
    dtype: torch.dtype | None = None,
) -> AutoencoderKL:
    """Build the VAE that fits `state_dict` and give it these weights, without copying them.

    Args:
        state_dict: weights in latent diffusion's names, without a prefix
            (`encoder.down.0.block.0.conv1.weight`). Their shapes give the sizes of the VAE.
        scaling_factor: scale of the latents, which shapes do not show.
        norm_num_groups: groups of every GroupNorm, which shapes do not show.
        latents_are_images: whether the latents are small images, see `nano.latents`.
        dtype: of the VAE; None keeps the stored dtype.

    Returns:
        The VAE in eval mode.

    Raises:
        CheckpointError: keys or shapes do not fit.
    """
    from diffusers.models import AutoencoderKL

    weights = {
        key: value for key, value in state_dict.items() if not key.startswith(_TRAINING_ONLY)
    }
    config = vae_config_from_state_dict(weights)
    try:
        with torch.device("meta"):
            vae = AutoencoderKL(
                **config, scaling_factor=scaling_factor, norm_num_groups=norm_num_groups
            )
    except (ValueError, ArithmeticError, RuntimeError) as error:
        raise CheckpointError(
            f"got VAE weights of {config['block_out_channels']} channels, expected multiples of "
            f"{norm_num_groups}: give the norm_num_groups it was trained with"
        ) from error
    vae.register_to_config(latents_are_images=latents_are_images)
    validate_state_dict("VAE", diffusers_to_ldm(vae.state_dict()), weights)
    converted = ldm_to_diffusers(weights)
    vae.load_state_dict({key: value.to(dtype) for key, value in converted.items()}, assign=True)
    accelerate_for_cpu(vae, linear_layers=False)
    return vae.eval()


def vae_config_from_state_dict(state_dict: Mapping[str, Tensor]) -> dict[str, Any]:
    """Infer the arguments of `AutoencoderKL` from the shapes of weights.

    Args:
        state_dict: weights in latent diffusion's names.

    Raises:
        CheckpointError: the names are not latent diffusion's.
    """
    levels = count_indices(state_dict, r"encoder\.down\.([0-9]{1,6})\.")
    blocks = count_indices(state_dict, r"encoder\.down\.0\.block\.([0-9]{1,6})\.")
    if levels > MAX_LEVELS or blocks > MAX_BLOCKS:
        raise CheckpointError(
            f"got VAE weights of {levels:,} levels with {blocks:,} blocks, expected at most "
            f"{MAX_LEVELS} and {MAX_BLOCKS}: get the checkpoint again"
        )
    try:
        channels = [
            state_dict[f"encoder.down.{level}.block.0.conv1.weight"].shape[0]
            for level in range(max(levels, 1))
        ]
        image_channels = state_dict["encoder.conv_in.weight"].shape[1]
        latent_channels = state_dict["decoder.conv_in.weight"].shape[1]
    except LookupError as error:
        raise CheckpointError(
            f"got VAE weights without {error}, expected the key names of latent diffusion: "
            f"use a checkpoint that holds the whole VAE"
        ) from error
    return {
        "in_channels": image_channels,
        "out_channels": image_channels,
        "latent_channels": latent_channels,
        "block_out_channels": channels,
        "layers_per_block": blocks,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "mid_block_add_attention": "encoder.mid.attn_1.norm.weight" in state_dict,
    }


# --- decoding and encoding -----------------------------------------------------------------------


def vae_scale_factor(vae: AutoencoderKL | AutoencoderTiny) -> int:
    """Return the pixels per latent pixel along one side: 8 for KL-f8."""
    return 2 ** (len(vae.config["block_out_channels"]) - 1)


def decode_latents(
    vae: AutoencoderKL | AutoencoderTiny,
    latents: Tensor,
    *,
    decode_chunk_size: int | None = None,
    tile: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Decode latents to frames; differentiable.

    Args:
        vae: the full VAE or a tiny one.
        latents: scaled as the U-Net predicts them, `[B, C, T, h, w]`.
        decode_chunk_size: frames decoded at a time (default: as many as make `CHUNK_PIXELS`). It
            bounds the memory and does not change the result.
        tile: cuts each frame into overlapping squares of this many latent pixels, at least 4.
            That takes less memory, but normalization and attention then see only the tile, so
            that colors may shift a little.
        progress: called with the numbers of decoded and of all frames.

    Returns:
        Frames, float32 `[B, 3, T, 8h, 8w]` in about -1..1.

    Raises:
        InputError: a shape or a setting does not fit.
    """
    _check_input(latents, "latents", vae.config["latent_channels"], decode_chunk_size)
    if tile is not None and tile < 4:
        raise InputError(f"got a tile of {tile} latent pixels, expected at least 4")
    batch, _, _, height, width = latents.shape
    factor = vae_scale_factor(vae)
    # [B, C, T, h, w] -> [B*T, C, h, w]
    frames = rearrange(latents / vae.config["scaling_factor"], "b c t h w -> (b t) c h w")
    frames = frames.to(vae.device, vae.dtype)
    shape = (len(frames), vae.config["out_channels"], height * factor, width * factor)
    video = frames.new_empty(shape, dtype=torch.float32)
    decode_chunk_size = decode_chunk_size or default_chunk_size(*shape[2:], frames.device)
    for start in range(0, len(frames), decode_chunk_size):
        chunk = frames[start : start + decode_chunk_size]
        decoded = _decode_tiled(vae, chunk, tile) if tile else _decode(vae, chunk)
        video[start : start + decode_chunk_size] = decoded
        if progress:
            progress(start + len(chunk), len(frames))
    # [B*T, 3, H, W] -> [B, 3, T, H, W]
    return rearrange(video, "(b t) c h w -> b c t h w", b=batch)


def _decode(vae: AutoencoderKL | AutoencoderTiny, latents: Tensor) -> Tensor:
    """Decode unscaled latents `[N, C, h, w]`; TAESD's layers differ and keep diffusers' forward."""
    is_kl = hasattr(vae.decoder, "up_blocks")
    return decode_images(vae, latents) if is_kl else vae.decode(latents).sample


def _decode_tiled(vae: AutoencoderKL | AutoencoderTiny, latents: Tensor, tile: int) -> Tensor:
    """Decode `[N, C, h, w]` in overlapping tiles, blended with weights that fade at their edges.

    diffusers' own tiling leaves slivers at the right and lower border, with wrong statistics in
    their normalization, and differs between VAE classes. Here all tiles are of full size; with
    random weights the result is closer to the untiled one (relative error 0.07 against 0.12).
    """
    count, _, height, width = latents.shape
    factor = vae_scale_factor(vae)
    shape = (count, vae.config["out_channels"], height * factor, width * factor)
    blended = latents.new_zeros(shape, dtype=torch.float32)
    total = latents.new_zeros(shape[2:], dtype=torch.float32)
    for top in _tile_starts(height, tile):
        for left in _tile_starts(width, tile):
            decoded = _decode(vae, latents[:, :, top : top + tile, left : left + tile])
            rows = slice(top * factor, top * factor + decoded.shape[2])
            columns = slice(left * factor, left * factor + decoded.shape[3])
            weight = _fade(decoded, tile * factor)
            blended[:, :, rows, columns] += decoded * weight
            total[rows, columns] += weight
    return blended / total


def _tile_starts(size: int, tile: int) -> list[int]:
    """Return evenly spread starts of tiles that cover 0..size and overlap by at least a quarter."""
    if size <= tile:
        return [0]
    steps = math.ceil((size - tile) / (tile - tile // 4))
    return [round(step * (size - tile) / steps) for step in range(steps + 1)]


def _fade(decoded: Tensor, side: int) -> Tensor:
    """Return weights `[H, W]`: 1 inside, falling linearly over the outer quarter of the tile."""

    def ramp(length: int) -> Tensor:
        position = torch.arange(length, device=decoded.device, dtype=torch.float32) + 0.5
        return (torch.minimum(position, length - position) / (side / 4)).clamp(max=1)

    return ramp(decoded.shape[2])[:, None] * ramp(decoded.shape[3])  # [H, 1] * [W] -> [H, W]


def encode_video(
    vae: AutoencoderKL,
    video: Tensor,
    *,
    encode_chunk_size: int | None = None,
    sample: bool = True,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Encode frames to scaled latents; differentiable.

    Args:
        vae: the full VAE.
        video: frames `[B, 3, T, H, W]` in -1..1.
        encode_chunk_size: frames encoded at a time; it does not change the result.
        sample: whether to draw from the posterior, mean + std * noise; otherwise its mean.
        generator: draws the noise, for all frames at once.

    Returns:
        Latents, float32 `[B, C, T, H/8, W/8]`.

    Raises:
        InputError: a shape or a setting does not fit.
    """
    from diffusers.utils.torch_utils import randn_tensor

    latents, spread = encode_posterior(vae, video, encode_chunk_size=encode_chunk_size)
    if sample:
        # [B, C, T, h, w] -> [B, T, C, h, w] -> [B*T, C, h, w]: the order in which noise is drawn
        shape = latents.transpose(1, 2).flatten(0, 1).shape
        noise = randn_tensor(shape, generator=generator, device=latents.device)
        # [B*T, C, h, w] -> [B, C, T, h, w]
        latents += spread * rearrange(noise, "(b t) c h w -> b c t h w", b=len(video))
    return latents


def encode_posterior(
    vae: AutoencoderKL, video: Tensor, *, encode_chunk_size: int | None = None
) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of the posterior that `encode_video` draws from.

    Args:
        vae: the full VAE.
        video: frames `[B, 3, T, H, W]` in -1..1.
        encode_chunk_size: frames encoded at a time.

    Returns:
        Both scaled, float32 `[B, C, T, H/8, W/8]`.

    Raises:
        InputError: a shape or a setting does not fit.
    """
    _check_input(video, "a video", vae.config["in_channels"], encode_chunk_size)
    factor = vae_scale_factor(vae)
    if video.shape[3] % factor or video.shape[4] % factor:
        raise InputError(
            f"got frames of {video.shape[4]}x{video.shape[3]} pixels, expected multiples of "
            f"{factor}: resize or crop them"
        )
    # [B, 3, T, H, W] -> [B*T, 3, H, W]
    frames = rearrange(video, "b c t h w -> (b t) c h w").to(vae.device, vae.dtype)
    height, width = video.shape[3:]
    encode_chunk_size = encode_chunk_size or default_chunk_size(height, width, frames.device)
    posteriors = (vae.encode(chunk).latent_dist for chunk in frames.split(encode_chunk_size))
    moments = torch.cat([torch.stack([p.mean, p.std]) for p in posteriors], dim=1).float()
    # [2, B*T, C, h, w] -> [2, B, C, T, h, w]
    mean, std = rearrange(moments, "m (b t) c h w -> m b c t h w", b=len(video))
    scale = vae.config["scaling_factor"]
    return scale * mean, scale * std


def default_chunk_size(height: int, width: int, device: torch.device) -> int:
    """Return how many frames of this size in pixels are decoded or encoded at a time."""
    pixels = CHUNK_PIXELS_CPU if device.type == "cpu" else CHUNK_PIXELS
    return max(1, pixels // (height * width))


def _check_input(values: Tensor, name: str, channels: int, chunk_size: int | None) -> None:
    if values.ndim != 5 or values.shape[1] != channels:
        raise InputError(
            f"got {name} of shape {list(values.shape)}, expected [batch, {channels}, frames, "
            f"height, width]"
        )
    if chunk_size is not None and chunk_size < 1:
        raise InputError(f"got a chunk size of {chunk_size} frames, expected at least 1")


def check_finite(values: Tensor, what: Literal["latents", "frames"]) -> None:
    """Check that `values` hold neither NaN nor infinity.

    Args:
        values: of any shape.
        what: `values` are, which tells the likely cause.

    Raises:
        NumericalError: they do; the message names the cause.
    """
    if bool(torch.isfinite(values).all()):
        return
    if what == "latents":
        raise NumericalError(
            "the U-Net produced NaN or infinite latents: try dtype float32 or bfloat16, "
            "and check the checkpoint and LoRA strength"
        )
    raise NumericalError(
        "the VAE turned finite latents into NaN or infinite frames, as Stable Diffusion's VAE "
        "does when float16 overflows: decode in bfloat16 or float32"
    )
