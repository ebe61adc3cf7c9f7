"""Drop clips that repeat others: near-duplicates, files of equal bytes, one scene again and again.

Of several the best stays: the one with the fewest defects, of these the largest, then the sharpest.
Letters, logos and bars have sharp edges, so sharpness counts last.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from .stages.duplicates import HASH_BITS, near_duplicates
from .table import column_values

if TYPE_CHECKING:
    import pyarrow

SCENE_DISTANCE = 40  # bits of the hash: clips of one video that are closer show one scene
DRAWN_STEP = 0.005  # share of the picture; drawings that differ by less count as equal

Reasons = list[list[tuple[str, str]]]  # (rule, text) of each clip


def best_first(table: pyarrow.Table, defects: np.ndarray, best_by: str | None) -> list[int]:
    """Return the rows of the table, the best clip first, equal ones in their order.

    Args:
        table: the manifest.
        defects: int [N], number of defects of each clip.
        best_by: column whose highest value is best; None compares defects, size and sharpness.
    """
    if best_by:
        keys = [np.nan_to_num(-column_values(table, best_by), nan=np.inf)]
    else:
        pixels = column_values(table, "width") * column_values(table, "height")
        drawn = sum(np.nan_to_num(column_values(table, name)) for name in ("bars", "overlay"))
        blur = np.nan_to_num(column_values(table, "blur"), nan=np.inf)
        keys = [blur, np.nan_to_num(-pixels), np.round(drawn / DRAWN_STEP), defects]
    return np.lexsort(keys).tolist()  # the last key counts most


def drop_copies(
    table: pyarrow.Table, order: list[int], distance: int | None, reasons: Reasons
) -> None:
    """Add a reason to each clip that repeats a better one.

    Args:
        table: the manifest.
        order: rows of the clips that pass all rules, best first.
        distance: maximum Hamming distance of near-duplicates; None keeps them.
        reasons: of each row; extended in place.
    """
    ids = table["id"].to_pylist()
    if distance is not None and order:
        hashes = table["hash"].to_pylist()
        with_hash = [(index, hashes[index]) for index in order if hashes[index]]
        for copy, original in near_duplicates(with_hash, distance).items():
            reasons[copy].append(("duplicate", f"near-duplicate of {ids[original]}"))
    seen: set[str] = set()
    for index in order:
        if not reasons[index]:
            if ids[index] in seen:  # files of equal bytes, whose names collide in shards
                reasons[index].append(("duplicate", f"the same file as that of {ids[index]}"))
            seen.add(ids[index])


def drop_repeated_scenes(
    table: pyarrow.Table, order: list[int], most: int, reasons: Reasons
) -> None:
    """Add a reason to each clip of a scene that has `most` better clips in the same video.

    Args:
        table: the manifest.
        order: rows of the clips that pass all rules, best first.
        most: number of clips of one scene that may stay.
        reasons: of each row; extended in place.
    """
    sources, hashes = table["source_id"].to_pylist(), table["hash"].to_pylist()
    kept: dict[str, list[np.ndarray]] = defaultdict(list)  # source -> bits of its kept clips
    for index in order:
        if reasons[index] or not hashes[index] or not sources[index]:
            continue
        bits = _bits(hashes[index])
        earlier = kept[sources[index]]
        if earlier and int((_distances(earlier, bits) <= SCENE_DISTANCE).sum()) >= most:
            text = f"{most} clips of this video that show the same scene are kept already"
            reasons[index].append(("scene", text))
        else:
            earlier.append(bits)


def _bits(text: str) -> np.ndarray:
    """Return a hash as bool [HASH_BITS]."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8))[:HASH_BITS].astype(bool)


def _distances(hashes: list[np.ndarray], bits: np.ndarray) -> np.ndarray:
    return (np.stack(hashes) ^ bits).sum(axis=1)
