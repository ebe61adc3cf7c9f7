"""The image autoencoder (KL-f8 of latent diffusion, arXiv 2112.10752), applied frame by frame.

The network is diffusers' `AutoencoderKL`. Checkpoints use the names of the original latent
diffusion code, so this module translates between the two, then decodes and encodes videos in
pieces that fit into memory.

Precision: decoding runs in the VAE's own dtype. The activations of Stable Diffusion's VAE can
exceed what float16 holds and then turn into NaN (black frames): use bfloat16 or float32.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import torch
from einops import rearrange
from torch import Tensor

from ..cpu import accelerate_for_cpu
from ..cpu.vae_decoder import decode_images
from ..errors import CheckpointError, InputError, NumericalError
from ..weights.state_dict import validate_state_dict

if TYPE_CHECKING:
    from diffusers.models import AutoencoderKL, AutoencoderTiny

SCALING_FACTOR = 0.18215
"""One over the standard deviation of Stable Diffusion's latents."""
# Go through the VAE at a time: four frames of 320x512, on a CPU one: it gains nothing by more.
CHUNK_PIXELS, CHUNK_PIXELS_CPU = 4 * 320 * 512, 2**18

# Fragments of key names: latent diffusion, diffusers. The middle goes first, because its
# `resnets` have another name in latent diffusion than those of the levels.
_RENAMES = (
    (".mid.block_1.", ".mid_block.resnets.0."),
    (".mid.block_2.", ".mid_block.resnets.1."),
    (".mid.attn_1.norm.", ".mid_block.attentions.0.group_norm."),
    (".mid.attn_1.q.", ".mid_block.attentions.0.to_q."),
    (".mid.attn_1.k.", ".mid_block.attentions.0.to_k."),
    (".mid.attn_1.v.", ".mid_block.attentions.0.to_v."),
    (".mid.attn_1.proj_out.", ".mid_block.attentions.0.to_out.0."),
    (".down.", ".down_blocks."),
    (".up.", ".up_blocks."),
    (".block.", ".resnets."),
    (".downsample.", ".downsamplers.0."),
    (".upsample.", ".upsamplers.0."),
    (".nin_shortcut.", ".conv_shortcut."),
    (".norm_out.", ".conv_norm_out."),
)
_ATTENTION_WEIGHT = re.compile(r"\.attentions\.0\.to_(q|k|v|out\.0)\.weight$")
_DECODER_LEVEL = re.compile(r"(?<=^decoder\.up\.)\d+|(?<=^decoder\.up_blocks\.)\d+")
_TRAINING_ONLY = ("loss.", "model_ema.")


# --- loading -------------------------------------------------------------------------------------


def load_vae(
    state_dict: Mapping[str, Tensor],
    *,
    scaling_factor: float = SCALING_FACTOR,
    norm_num_groups: int = 32,
    dtype: torch.dtype | None = None,
) -> AutoencoderKL:
    """Build the VAE that fits `state_dict` and give it these weights, without copying them.

    Keys are those of latent diffusion without a prefix (`encoder.down.0.block.0.conv1.weight`).
    Sizes are read from the shapes; the latents' scale and the number of normalisation groups
    leave no trace there. `dtype=None` keeps the stored dtype. Raises CheckpointError.
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
    except ValueError as error:
        raise CheckpointError(
            f"got VAE weights of {config['block_out_channels']} channels, expected multiples of "
            f"{norm_num_groups}: give the norm_num_groups it was trained with"
        ) from error
    validate_state_dict("VAE", diffusers_to_ldm(vae.state_dict()), weights)
    converted = ldm_to_diffusers(weights)
    vae.load_state_dict({key: value.to(dtype) for key, value in converted.items()}, assign=True)
    accelerate_for_cpu(vae, linear_layers=False)
    return vae.eval()


def vae_config_from_state_dict(state_dict: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments of `AutoencoderKL` that the shapes tell, from latent diffusion's key names."""
    levels = _count(state_dict, r"encoder\.down\.(\d+)\.")
    try:
        channels = [
            state_dict[f"encoder.down.{level}.block.0.conv1.weight"].shape[0]
            for level in range(levels)
        ]
        image_channels = state_dict["encoder.conv_in.weight"].shape[1]
        latent_channels = state_dict["decoder.conv_in.weight"].shape[1]
    except KeyError as error:
        raise CheckpointError(
            f"got VAE weights without {error}, expected the key names of latent diffusion: "
            f"use a checkpoint that holds the whole VAE"
        ) from error
    return {
        "in_channels": image_channels,
        "out_channels": image_channels,
        "latent_channels": latent_channels,
        "block_out_channels": channels,
        "layers_per_block": _count(state_dict, r"encoder\.down\.0\.block\.(\d+)\."),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "mid_block_add_attention": "encoder.mid.attn_1.norm.weight" in state_dict,
    }


def ldm_to_diffusers(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Latent diffusion's names to diffusers'; 1x1 convolutions of the attention become linear."""
    levels = _count(state_dict, r"decoder\.up\.(\d+)\.")
    converted = {}
    for key, value in state_dict.items():
        name = _flip_decoder_level(key, levels)
        for ldm, diffusers in _RENAMES:
            name = name.replace(ldm, diffusers)
        # [out, in, 1, 1] -> [out, in]
        converted[name] = value.flatten(1) if _ATTENTION_WEIGHT.search(name) else value
    return converted


def diffusers_to_ldm(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The exact reverse of `ldm_to_diffusers`: how a VAE trained here is saved."""
    levels = _count(state_dict, r"decoder\.up_blocks\.(\d+)\.")
    converted = {}
    for key, value in state_dict.items():
        name = _flip_decoder_level(key, levels)
        for ldm, diffusers in _RENAMES:
            name = name.replace(diffusers, ldm)
        # [out, in] -> [out, in, 1, 1]
        converted[name] = value[:, :, None, None] if _ATTENTION_WEIGHT.search(key) else value
    return converted


def _flip_decoder_level(key: str, levels: int) -> str:
    """Latent diffusion counts the decoder's levels from the finest, diffusers from the coarsest."""
    return _DECODER_LEVEL.sub(lambda match: str(levels - 1 - int(match.group())), key)


def _count(keys: Iterable[str], pattern: str) -> int:
    """One more than the largest number that `pattern` captures at the start of a key."""
    matches = (re.match(pattern, key) for key in keys)
    return max((int(match[1]) + 1 for match in matches if match), default=0)


# --- decoding and encoding -----------------------------------------------------------------------


def vae_scale_factor(vae: AutoencoderKL | AutoencoderTiny) -> int:
    """Pixels per latent pixel along one side: 8 for KL-f8."""
    return 2 ** (len(vae.config["block_out_channels"]) - 1)


def decode_latents(
    vae: AutoencoderKL | AutoencoderTiny,
    latents: Tensor,
    *,
    decode_chunk_size: int | None = None,
    tile: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Latents `[B, C, T, h, w]` to frames, float32 `[B, 3, T, 8h, 8w]` in about -1..1.

    `decode_chunk_size` frames go through the decoder at a time (default: as many as make
    `CHUNK_PIXELS`); it bounds the memory and does not change the result. `tile` (latent pixels, at
    least 4) also cuts each frame into overlapping squares of this size: less memory, but group
    normalisation and attention then see only the tile, so colours may shift a little.
    `progress(done, total)` is told of frames. Differentiable.
    """
    _check_input(latents, "latents", vae.config["latent_channels"], decode_chunk_size)
    if tile is not None and tile < 4:
        raise InputError(f"got a tile of {tile} latent pixels, expected at least 4")
    batch, _, _, height, width = latents.shape
    factor = vae_scale_factor(vae)
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
    return rearrange(video, "(b t) c h w -> b c t h w", b=batch)


def _decode(vae: AutoencoderKL | AutoencoderTiny, latents: Tensor) -> Tensor:
    """Unscaled latents `[N, C, h, w]` to images; TAESD has layers of its own kind."""
    is_kl = hasattr(vae.decoder, "up_blocks")
    return decode_images(vae, latents) if is_kl else vae.decode(latents).sample


def _decode_tiled(vae: AutoencoderKL | AutoencoderTiny, latents: Tensor, tile: int) -> Tensor:
    """Decode `[N, C, h, w]` in overlapping tiles, blended with weights that fade at their edges.

    diffusers' own tiling leaves slivers at the right and lower border, whose normalisation is
    off, and works differently for each VAE class. Here all tiles are of full size; with random
    weights the result is nearer to the untiled one (relative error 0.07 against 0.12).
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
    """Evenly spread starts of tiles that cover 0..size and overlap by at least a quarter."""
    if size <= tile:
        return [0]
    steps = math.ceil((size - tile) / (tile - tile // 4))
    return [round(step * (size - tile) / steps) for step in range(steps + 1)]


def _fade(decoded: Tensor, side: int) -> Tensor:
    """Weights `[H, W]`: 1 inside, falling linearly over the outer quarter of the tile."""

    def ramp(length: int) -> Tensor:
        position = torch.arange(length, device=decoded.device, dtype=torch.float32) + 0.5
        return (torch.minimum(position, length - position) / (side / 4)).clamp(max=1)

    return ramp(decoded.shape[2])[:, None] * ramp(decoded.shape[3])


def encode_video(
    vae: AutoencoderKL,
    video: Tensor,
    *,
    encode_chunk_size: int | None = None,
    sample: bool = True,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Frames `[B, 3, T, H, W]` in -1..1 to scaled latents, float32 `[B, C, T, H/8, W/8]`.

    `sample=True` draws from the posterior, all noise at once from `generator`, so the result
    does not depend on `encode_chunk_size`; `False` takes its mean. Differentiable.
    """
    from diffusers.utils.torch_utils import randn_tensor

    latents, spread = encode_posterior(vae, video, encode_chunk_size=encode_chunk_size)
    if sample:
        shape = latents.transpose(1, 2).flatten(0, 1).shape  # [B*T, C, h, w], as it is encoded
        noise = randn_tensor(shape, generator=generator, device=latents.device)
        latents += spread * rearrange(noise, "(b t) c h w -> b c t h w", b=len(video))
    return latents


def encode_posterior(
    vae: AutoencoderKL, video: Tensor, *, encode_chunk_size: int | None = None
) -> tuple[Tensor, Tensor]:
    """Mean and deviation of what `encode_video` draws from, both in its shape and scale."""
    _check_input(video, "a video", vae.config["in_channels"], encode_chunk_size)
    factor = vae_scale_factor(vae)
    if video.shape[3] % factor or video.shape[4] % factor:
        raise InputError(
            f"got frames of {video.shape[4]}x{video.shape[3]} pixels, expected multiples of "
            f"{factor}: resize or crop them"
        )
    frames = rearrange(video, "b c t h w -> (b t) c h w").to(vae.device, vae.dtype)
    height, width = video.shape[3:]
    encode_chunk_size = encode_chunk_size or default_chunk_size(height, width, frames.device)
    posteriors = (vae.encode(chunk).latent_dist for chunk in frames.split(encode_chunk_size))
    moments = torch.cat([torch.stack([p.mean, p.std]) for p in posteriors], dim=1).float()
    mean, std = rearrange(moments, "m (b t) c h w -> m b c t h w", b=len(video))
    scale = vae.config["scaling_factor"]
    return scale * mean, scale * std


def default_chunk_size(height: int, width: int, device: torch.device) -> int:
    """How many frames of this size in pixels go through a VAE at a time."""
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
    """Raise NumericalError, with the likely cause, if `values` hold NaN or infinity."""
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
