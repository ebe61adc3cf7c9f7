"""Clips that show the same: a perceptual hash of each, and who is a copy of whom.

The hash is pHash (Zauner, 2010, "Implementation and Benchmarking of Perceptual Image Hash
Functions", section 3.2): signs of the 8x8 lowest cosine coefficients against their median. It
survives another size, codec, brightness or bit rate, but not cropping or mirroring.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from .shrinking import square_gray

SIDE, LOW = 32, 8
MOMENTS = (1 / 6, 3 / 6, 5 / 6)  # of a clip: one frame each
HASH_BITS = len(MOMENTS) * LOW * LOW
MAX_DISTANCE = 24  # bits; above, different clips are called copies and the search gets slow


def perceptual_hash(frames: np.ndarray, fps: float) -> dict[str, str]:
    """`hash`: 192 bits in hexadecimal, 64 for each of three moments of the clip.

    Args:
        frames: uint8 [T,H,W,3].
        fps: frames per second; not used, every stage is called alike.
    """
    chosen = (frames[int(moment * len(frames))] for moment in MOMENTS)
    return {"hash": "".join(f"{_frame_hash(frame):016x}" for frame in chosen)}


def _frame_hash(frame: np.ndarray) -> int:
    basis = _cosines()
    low = basis @ square_gray(frame, SIDE) @ basis.T  # [LOW,LOW]
    # Whole levels: two machines that add in another order must not differ in a bit.
    levels = np.round(low).astype(np.int64).ravel()
    levels[0] = 0  # the mean brightness says nothing about what is shown
    bits = levels > np.median(levels)
    return int("".join("1" if bit else "0" for bit in bits), 2)


def _cosines() -> np.ndarray:
    """The first LOW rows of the DCT-II of SIDE samples."""
    k, n = np.arange(LOW)[:, None], np.arange(SIDE)
    return np.cos(np.pi * k * (2 * n + 1) / (2 * SIDE)) * np.sqrt(2 / SIDE)


def near_duplicates(items: Iterable[tuple[int, str]], max_distance: int) -> dict[int, int]:
    """Which clips are copies of a better one.

    Args:
        items: (row, hash) of each clip, the best first: of a group the best one stays.
        max_distance: bits in which copies differ at most.

    Returns:
        row of a copy -> row of the one that stays.
    """
    # Pigeonhole: hashes that differ in at most d bits agree in one of d + 1 bands at least, so
    # only clips that share a band are compared.
    bands = max_distance + 1
    edges = [HASH_BITS * i // bands for i in range(bands + 1)]
    seen: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    copies: dict[int, int] = {}
    for row, text in items:
        value = int(text, 16)
        keys = [
            (low, (value >> low) & ((1 << (high - low)) - 1))
            for low, high in itertools.pairwise(edges)
        ]
        original = _first_near(value, (seen[key] for key in keys), max_distance)
        if original is not None:
            copies[row] = original
            continue
        for key in keys:
            seen[key].append((row, value))
    return copies


def _first_near(
    value: int, groups: Iterable[list[tuple[int, int]]], max_distance: int
) -> int | None:
    for group in groups:
        for row, other in group:
            if (value ^ other).bit_count() <= max_distance:
                return row
    return None
