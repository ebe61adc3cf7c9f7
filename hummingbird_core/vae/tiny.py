"""Smaller decoders in place of the VAE's: TAESD, and decoders pruned from the full one.

They blur fine detail. `decode_latents` accepts them like the full VAE.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..cpu import accelerate_for_cpu
from ..errors import CheckpointError, InputError, one_line
from ..files import ASSETS
from ..inputs.fields import Kind, ListOf, Number, Whole, check_fields
from ..inputs.json_text import parse_json, read_json
from ..weights.state_dict import validate_state_dict

if TYPE_CHECKING:
    from diffusers.models import AutoencoderKL, AutoencoderTiny

FULL_DECODER = "full"  # the VAE's own
# Smaller decoders of the built-in model, made by `hummingbird train decoder`.
BUILT_IN_DECODERS = {
    "middle": "nano-middle-decoder.safetensors",
    "tiny": "nano-decoder.safetensors",
}
PRUNED_KEY = "hummingbird.pruned_decoder"  # metadata: PrunedDecoderConfig as JSON
MAX_CONFIG = 1 << 20  # bytes of a config.json
MAX_LEVELS, MAX_SIZE = 16, 4096  # values of a list in it; channels or blocks
PRUNED_FIELDS: dict[str, Kind] = {
    "block_out_channels": ListOf(Whole(1, MAX_SIZE), 1, 8),
    "layers_per_block": Whole(0, 16),
    "norm_num_groups": Whole(1, MAX_SIZE),
    "scaling_factor": Number(1e-6, 1e6),
    "latent_channels": Whole(1, MAX_SIZE),
}


@dataclass(frozen=True)
class PrunedDecoderConfig:
    """Shape of a decoder built like Stable Diffusion's, but smaller.

    Args:
        block_out_channels: channels of each level, the finest first.
        layers_per_block: residual blocks of a level, minus one.
        norm_num_groups: groups of every GroupNorm.
        scaling_factor: of the full VAE's latents.
        latent_channels: of the full VAE.
    """

    block_out_channels: tuple[int, ...]
    layers_per_block: int
    norm_num_groups: int
    scaling_factor: float
    latent_channels: int = 4


def load_fast_decoder(
    name_or_path: str | Path, dtype: torch.dtype = torch.float32
) -> AutoencoderKL | AutoencoderTiny:
    """Load TAESD or a pruned decoder, for decoding only.

    Args:
        name_or_path: "middle" or "tiny" for the built-in model's; the file of a pruned decoder; or
            TAESD: a folder in diffusers' layout or one file, in diffusers' names or TAESD's own
            (`taesd_decoder.safetensors`).
        dtype: of the weights.

    Returns:
        The decoder in eval mode.

    Raises:
        CheckpointError: it is missing, damaged, or neither of the two.
    """
    from ..weights.tensor_files import open_tensors

    path = find_decoder(name_or_path)
    if path.is_dir():
        config = _read_config(path / "config.json")
        return _load_taesd(path / "diffusion_pytorch_model.safetensors", config, dtype)
    is_pruned = PRUNED_KEY in open_tensors(path).metadata
    return _load_pruned(path, dtype) if is_pruned else _load_taesd(path, {}, dtype)


def psnr(batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Return the PSNR of frames against a reference in dB, infinite if they are equal.

    Args:
        batches: pairs of frames and reference in -1..1, one shape for all.
    """
    # Clamped, as in a video file.
    errors = [(got.clamp(-1, 1) - ref.clamp(-1, 1)).square().mean() for got, ref in batches]
    mse = torch.stack(errors).mean().item()
    # 10 log10(peak^2 / MSE); the peak of a range -1..1 is 2.
    return 10 * math.log10(4 / mse) if mse else math.inf


def build_pruned_decoder(config: PrunedDecoderConfig) -> AutoencoderKL:
    """Build an untrained decoder of this shape, without the layers that only encode."""
    from diffusers.models import AutoencoderKL

    levels = len(config.block_out_channels)
    vae = AutoencoderKL(
        **asdict(config),
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        mid_block_add_attention=False,  # the one layer that grows with the square of the pixels
    )
    del vae.encoder, vae.quant_conv
    accelerate_for_cpu(vae)
    return vae


def built_in_decoder(kind: str = "tiny") -> Path:
    """Return the path of one of the built-in model's smaller decoders, "middle" or "tiny"."""
    return ASSETS / "nano" / BUILT_IN_DECODERS[kind]


def check_decoder_fits(decoder: Any, vae: Any) -> None:
    """Raise InputError if a pruned decoder is of another model than the VAE.

    Args:
        decoder: of `load_fast_decoder`; TAESD, which does not scale latents, is not checked.
        vae: the model's own.
    """
    got, expected = (float(model.config["scaling_factor"]) for model in (decoder, vae))
    is_pruned = hasattr(decoder.decoder, "up_blocks")
    if is_pruned and not math.isclose(got, expected, rel_tol=1e-4):
        raise InputError(
            f"got a decoder of latents that are scaled by {got:g}, expected this model's "
            f"{expected:g}: give a decoder that was made from its VAE, or TAESD"
        )


def find_decoder(name_or_path: str | Path) -> Path:
    """Return the file or folder of a decoder.

    Args:
        name_or_path: "middle", "tiny" or a path.

    Raises:
        CheckpointError: there is none.
    """
    name = str(name_or_path)
    if name in BUILT_IN_DECODERS:
        path = built_in_decoder(name)
        expected = f"a file {path.name}: make it, see `hummingbird train decoder --help`"
    else:
        path = Path(name_or_path)
        expected = f"full, {', '.join(BUILT_IN_DECODERS)}, a TAESD or a pruned decoder: check it"
    if not path.exists():
        raise CheckpointError(f"got decoder {name!r}, expected {expected}")
    return path


def read_pruned(path: Path) -> tuple[PrunedDecoderConfig, dict[str, Tensor]]:
    """Read shape and weights of a pruned decoder's file.

    Raises:
        CheckpointError: it is damaged, or of something else.
    """
    from ..weights.tensor_files import open_tensors, read_tensors

    text = open_tensors(path).metadata.get(PRUNED_KEY, "")
    try:
        values = check_fields(parse_json(text, "it"), PRUNED_FIELDS, "it")
        return PrunedDecoderConfig(**values), read_tensors(path)
    except (InputError, TypeError) as error:  # TypeError: a field is missing
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{path.name} has damaged metadata {PRUNED_KEY} ({error}): make the decoder again"
    )


def _load_pruned(path: Path, dtype: torch.dtype) -> AutoencoderKL:
    config, weights = read_pruned(path)
    try:
        vae = build_pruned_decoder(config)
    except ValueError as error:  # widths that are no multiples of the groups
        raise _damaged(path, error) from error
    validate_state_dict("pruned decoder", vae.state_dict(), weights)
    vae.load_state_dict({key: value.to(dtype) for key, value in weights.items()}, assign=True)
    return vae.eval()


def _load_taesd(path: Path, config: dict[str, Any], dtype: torch.dtype) -> AutoencoderTiny:
    from diffusers.models import AutoencoderTiny

    from ..weights.tensor_files import read_tensors

    try:
        tiny = AutoencoderTiny.from_config(config)
    except (ValueError, TypeError, LookupError) as error:
        raise CheckpointError(
            f"got a config.json for {path} that is no TAESD's ({one_line(error)}): get it again"
        ) from error
    weights = {key: value.to(dtype) for key, value in _taesd_weights(read_tensors(path)).items()}
    validate_state_dict("TAESD", tiny.decoder.state_dict(), weights)
    tiny.decoder.load_state_dict(weights, assign=True)
    del tiny.encoder
    return tiny.eval()


def _read_config(path: Path) -> dict[str, Any]:
    try:
        values = read_json(path, max_bytes=MAX_CONFIG)
        return {name: _bounded(name, value) for name, value in values.items()}
    except (AttributeError, ValueError) as error:
        raise CheckpointError(
            f"got {path.parent} without a readable config.json ({error}): give a folder in "
            f"diffusers' layout or the weights file itself"
        ) from error


def _bounded(name: str, value: Any) -> Any:
    """Return a value of a config; refuse sizes that would take long to build."""
    for size in value if isinstance(value, list) else [value]:
        if isinstance(size, int | float) and not abs(size) <= MAX_SIZE:
            raise InputError(f"{name} is {reprlib.repr(value)}, expected at most {MAX_SIZE}")
    if isinstance(value, list) and len(value) > MAX_LEVELS:
        raise InputError(f"{name} has {len(value)} values, expected at most {MAX_LEVELS}")
    return value


def _taesd_weights(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the decoder's weights in the names of diffusers' `DecoderTiny`."""
    if "1.weight" in state_dict:
        # TAESD's own list of layers starts with a clamp, which diffusers does not number.
        parts = ((key.split(".", 1), value) for key, value in state_dict.items())
        return {f"layers.{int(index) - 1}.{rest}": value for (index, rest), value in parts}
    return {
        key.removeprefix("decoder."): value
        for key, value in state_dict.items()
        if key.startswith("decoder.")
    }
