"""Starting noise and step noise, drawn on the CPU from a seed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor

from ..seeds import video_seed


def step_noise_generator(seed: int) -> torch.Generator:
    """Return the generator of the noise between steps, another stream than that of `initial_noise`.

    It starts from the first 8 bytes of SHA-256("step noise SEED"): torch's CPU generator looks at
    the lower 32 bits of a seed only, so an offset in the upper ones would change nothing.
    """
    # seed' = first 8 bytes of SHA-256, little-endian
    digest = hashlib.sha256(f"step noise {video_seed(seed, 0)}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little"))


def initial_noise(shape: tuple[int, ...], seed: int) -> Tensor:
    """Return starting noise of `shape` `[B, 4, T, H, W]`, float32 on the CPU.

    Drawn on the CPU whatever the device, so that a seed means the same video everywhere.

    Raises:
        InputError: the seed is out of range.
    """
    # x_T ~ N(0, I). Video i is drawn alone from seed + i, so it does not depend on the size of the
    # batch.
    seeds = (video_seed(seed, i) for i in range(shape[0]))
    # B times [4, T, H, W] -> [B, 4, T, H, W]
    return torch.stack([torch.randn(shape[1:], generator=_generator(s)) for s in seeds])


def step_noises(shape: tuple[int, ...], seed: int) -> Iterator[Tensor]:
    """Yield endless noise of `shape` `[B, 4, T, H, W]` for the steps, float32 on the CPU.

    Raises:
        InputError: the seed is out of range.
    """
    # One stream for each video, as in `initial_noise`.
    generators = [step_noise_generator(video_seed(seed, i)) for i in range(shape[0])]
    while True:
        # B times [4, T, H, W] -> [B, 4, T, H, W]
        yield torch.stack([torch.randn(shape[1:], generator=g) for g in generators])


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
