"""The noise of PyTorch's CPU generator, in numpy: a seed gives the same noise as `torch.randn`.

The generator is a Mersenne Twister (MT19937) seeded with the lower 32 bits of the seed. Normal
numbers come from the Box-Muller transform: pairs of uniform numbers u_1, u_2 in [0, 1) give
sqrt(-2 ln(1 - u_1)) cos(2 pi u_2) and the same with a sine. Sines and logarithms of numpy and of
PyTorch differ by one rounding, thus the noise by up to 5e-7.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator

import numpy as np

from ..seeds import video_seed

BLOCK = 16  # numbers that PyTorch transforms at a time, the first 8 with the last 8


class NormalGenerator:
    """A stream of N(0, 1) numbers, those of `torch.Generator().manual_seed(seed)`.

    Args:
        seed: of which the lower 32 bits count.
    """

    def __init__(self, seed: int):
        self._twister = np.random.RandomState(seed & 0xFFFFFFFF)
        self._second: float | None = None  # of a pair that `_single` computed

    def normal(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return what `torch.randn(shape, generator=...)` does, float32."""
        count = math.prod(shape)
        if count < BLOCK:  # PyTorch's scalar code, in double precision
            return np.array([self._single() for _ in range(count)], np.float32).reshape(shape)
        uniform = self._uniform(count)
        whole = count - count % BLOCK
        numbers = box_muller(uniform[:whole])
        if whole < count:
            # PyTorch fills a last block that reaches back over the one before, from new numbers.
            numbers = np.concatenate([numbers, uniform[whole:]])
            numbers[-BLOCK:] = box_muller(self._uniform(BLOCK))
        return numbers.reshape(shape)

    def _uniform(self, count: int) -> np.ndarray:
        """Return numbers in [0, 1): 24 bits each, as many as a float32 holds."""
        return (self._bits(count) & 0xFFFFFF).astype(np.float32) * np.float32(2**-24)

    def _single(self) -> float:
        if self._second is not None:
            first, self._second = self._second, None
            return first
        bits = [int(word) for word in self._bits(4)]
        # 53 bits each, as many as a double holds, the upper word first.
        u1, u2 = (((high << 32 | low) & (2**53 - 1)) / 2**53 for high, low in (bits[:2], bits[2:]))
        radius, angle = math.sqrt(-2 * math.log1p(-u2)), 2 * math.pi * u1
        self._second = radius * math.sin(angle)
        return radius * math.cos(angle)

    def _bits(self, count: int) -> np.ndarray:
        return self._twister.randint(0, 2**32, count, dtype=np.uint32)


def box_muller(uniform: np.ndarray) -> np.ndarray:
    """Return normal numbers from uniform ones in [0, 1), float32 `[N]`, N a multiple of BLOCK."""
    pairs = uniform.reshape(-1, 2, BLOCK // 2)  # u_1 and u_2 of each block
    radius = np.sqrt(np.float32(-2) * np.log(np.float32(1) - pairs[:, 0]))
    angle = np.float32(2 * math.pi) * pairs[:, 1]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)


def initial_noise(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Return the starting noise of one video, `[1, 4, T, h, w]`, as `sampling.initial_noise`."""
    return NormalGenerator(video_seed(seed, 0)).normal(shape)


def step_noises(shape: tuple[int, ...], seed: int) -> Iterator[np.ndarray]:
    """Yield endless noise for the steps of one video, as `sampling.step_noises`."""
    # seed' = first 8 bytes of SHA-256("step noise SEED"), little-endian
    digest = hashlib.sha256(f"step noise {video_seed(seed, 0)}".encode()).digest()
    generator = NormalGenerator(int.from_bytes(digest[:8], "little"))
    while True:
        yield generator.normal(shape)
