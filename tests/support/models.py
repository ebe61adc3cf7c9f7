"""Helpers of the golden tests: the rule for pseudo-random weights, readers of stored values."""

from __future__ import annotations

import json
import math
import zlib
from typing import Any

import numpy as np
import torch
from diffusers.models import AutoencoderKL
from support.paths import ROOT

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]  # what is tested on all
UNET_PREFIX = "model.diffusion_model."
UNET_MANIFESTS = {
    "videocrafter2": "unet_vc2",
    "hummingbird-0.9b": "unet_09B_tc256",
    "hummingbird-0.7b": "unet_07B_tc256",
}
GOLDEN = ROOT / "tests" / "golden" / "data"


def rnd(key: str, shape) -> torch.Tensor:
    """An input: N(0, 1) drawn from the key's own stream."""
    generator = np.random.Generator(np.random.Philox(zlib.crc32(key.encode())))
    return torch.from_numpy(generator.standard_normal(tuple(shape), dtype=np.float32))


def det(key: str, shape) -> torch.Tensor:
    """A weight: like `rnd`, scaled by its fan-in; norms near one, biases small."""
    noise = rnd(key, shape)
    if len(shape) >= 2:
        return noise * np.float32(1 / math.sqrt(np.prod(shape[1:])))
    if len(shape) == 1 and key.endswith(".weight"):
        return 1 + np.float32(0.1) * noise
    return np.float32(0.1) * noise


def manifest(name: str) -> dict:
    """A stored table, usually key -> shape (with the checkpoint's prefix)."""
    return json.loads((GOLDEN / "manifests" / f"{name}.json").read_text())


def golden(name: str) -> dict[str, torch.Tensor]:
    """All arrays of one golden file."""
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


def det_state_dict(shapes: dict, prefix: str = "") -> dict[str, torch.Tensor]:
    """Weights by the rule for `shapes` (whose keys carry `prefix`); the prefix is cut off."""
    return {key.removeprefix(prefix): det(key, shape) for key, shape in shapes.items()}


def relative_l2(got: torch.Tensor, expected: torch.Tensor) -> float:
    """|got - expected| / |expected| over the whole tensor, in float64."""
    got, expected = got.double(), expected.double()
    return float((got - expected).norm() / expected.norm())


def tiny_vae(*widths: int, **options: Any) -> AutoencoderKL:
    """Random weights, in eval mode; a level for each width, as many as the real one by default."""
    widths = widths or (8, 8, 16, 16)
    vae = AutoencoderKL(
        block_out_channels=widths,
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        norm_num_groups=4,
        **options,
    )
    return vae.eval()
