"""Near-duplicate clips: a perceptual hash of each clip and a search for close hashes.

The hash is pHash (Zauner, 2010, "Implementation and Benchmarking of Perceptual Image Hash
Functions", section 3.2): signs of the 8x8 lowest cosine coefficients against their median. It
survives a change of size, codec, brightness or bit rate, but not cropping or mirroring.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator

import numpy as np

from .frames import square_gray

SIDE, LOW = 32, 8
MOMENTS = (1 / 6, 3 / 6, 5 / 6)  # relative times of the hashed frames
HASH_BITS = len(MOMENTS) * LOW * LOW
MAX_DISTANCE = 24  # bits; above, different clips count as copies and the search gets slow


def perceptual_hash(frames: np.ndarray, fps: float) -> dict[str, str]:
    """Return `hash`: 192 bits in hexadecimal, 64 for each of three frames of the clip.

    Args:
        frames: uint8 [T,H,W,3].
        fps: frames per second; unused, all stages share one signature.
    """
    chosen = (frames[int(moment * len(frames))] for moment in MOMENTS)
    return {"hash": "".join(f"{_frame_hash(frame):016x}" for frame in chosen)}


def _frame_hash(frame: np.ndarray) -> int:
    basis = _cosines()
    low = basis @ square_gray(frame, SIDE) @ basis.T  # [LOW,LOW]
    # Round: a different order of summation on another machine must not change a bit.
    levels = np.round(low).astype(np.int64).ravel()
    levels[0] = 0  # the DC coefficient holds the mean brightness, not the content
    bits = levels > np.median(levels)
    return int("".join("1" if bit else "0" for bit in bits), 2)


def _cosines() -> np.ndarray:
    """Return the first LOW rows of the DCT-II of SIDE samples, [LOW, SIDE].

    C[k, n] = sqrt(2 / N) cos(pi k (2 n + 1) / (2 N)), N = SIDE.
    """
    k, n = np.arange(LOW)[:, None], np.arange(SIDE)
    return np.cos(np.pi * k * (2 * n + 1) / (2 * SIDE)) * np.sqrt(2 / SIDE)


def near_duplicates(items: Iterable[tuple[int, str]], max_distance: int) -> dict[int, int]:
    """Find clips that are copies of a better one.

    Args:
        items: (row, hash) of each clip, best first: the best clip of a group is kept.
        max_distance: maximum Hamming distance of copies, in bits.

    Returns:
        row of a copy -> row of the clip that is kept.
    """
    # Pigeonhole: when hashes that differ in at most d bits are cut into d // 2 + 1 bands, one band
    # differs in at most one bit. So only clips that share a band up to one bit are compared.
    count = max_distance // 2 + 1
    edges = [HASH_BITS * i // count for i in range(count + 1)]
    bands = [_Band(low, high) for low, high in itertools.pairwise(edges)]
    copies: dict[int, int] = {}
    for row, text in items:
        value = int(text, 16)
        candidates = itertools.chain.from_iterable(band.near(value) for band in bands)
        original = _first_near(value, candidates, max_distance)
        if original is not None:
            copies[row] = original
            continue
        for band in bands:
            band.add(row, value)
    return copies


class _Band:
    """An index of all hashes by their bits `low` to `high`."""

    def __init__(self, low: int, high: int) -> None:
        self.low, self.mask = low, (1 << (high - low)) - 1
        self.flips = [0, *(1 << bit for bit in range(high - low))]
        self.groups: dict[int, list[tuple[int, int]]] = defaultdict(list)

    def add(self, row: int, value: int) -> None:
        self.groups[value >> self.low & self.mask].append((row, value))

    def near(self, value: int) -> Iterator[list[tuple[int, int]]]:
        """Return the groups of (row, hash) whose band is at most one bit away from `value`."""
        own = value >> self.low & self.mask
        return (self.groups[own ^ flip] for flip in self.flips if own ^ flip in self.groups)


def _first_near(
    value: int, groups: Iterable[list[tuple[int, int]]], max_distance: int
) -> int | None:
    for group in groups:
        for row, other in group:
            if (value ^ other).bit_count() <= max_distance:
                return row
    return None
