"""Near-duplicates: what counts as a copy, and that none is overlooked."""

from __future__ import annotations

import numpy as np
import pytest
from support.planted_defects import scene, write_clip

from hummingbird_core.curation.stages.duplicates import HASH_BITS, near_duplicates, perceptual_hash
from hummingbird_core.video import read_video

SMALL = {"frames": 12, "height": 96, "width": 128}


def distance(a, b) -> int:
    a, b = (int(perceptual_hash(frames, 24.0)["hash"], 16) for frames in (a, b))
    return (a ^ b).bit_count()


def test_copies_are_near_and_others_are_far():
    original = scene(1, **SMALL)
    darker = (original * 0.8).astype(np.uint8)
    smaller = original[:, ::2, ::2]
    assert distance(original, original) == 0
    assert distance(original, darker) <= 8
    assert distance(original, smaller) <= 16
    others = [distance(original, scene(seed, **SMALL)) for seed in range(2, 8)]
    assert min(others) > 40


def test_a_badly_encoded_copy_is_near(tmp_path):
    original = scene(1, **SMALL)
    copy = read_video(write_clip(tmp_path / "copy.mp4", original, kind="low bitrate")).frames
    assert distance(original, copy) <= 16


def random_hashes(count: int, rng) -> list[int]:
    return [int.from_bytes(rng.bytes(HASH_BITS // 8), "big") for _ in range(count)]


def flipped(value: int, bits: int, rng) -> int:
    for bit in rng.choice(HASH_BITS, bits, replace=False):
        value ^= 1 << int(bit)
    return value


@pytest.mark.parametrize("limit", [0, 5, 16])
def test_every_copy_within_the_limit_is_found_and_none_beyond(limit):
    rng = np.random.default_rng(limit)
    originals = random_hashes(50, rng)
    near = [flipped(value, int(rng.integers(limit + 1)), rng) for value in originals]
    far = [flipped(value, limit + 1, rng) for value in originals]
    items = [(row, f"{value:048x}") for row, value in enumerate(originals + near + far)]
    found = near_duplicates(items, limit)
    expected = {50 + row: row for row in range(50)}
    assert {row: of for row, of in found.items() if row < 100} == expected
    # A far one may still be near to the near one of its group, but that one does not stay.
    assert not {row for row in found if row >= 100}


def test_the_first_of_a_group_stays():
    assert near_duplicates([(7, "ff" * 24), (3, "ff" * 24), (5, "fe" * 24)], 24) == {3: 7, 5: 7}
