"""Seeds of videos; without torch, so that prompts can be enhanced where it is not installed."""

from __future__ import annotations

from .errors import InputError

MAX_SEED = 2**64 - 1


def video_seed(seed: int, index: int) -> int:
    """Return the seed of video `index` of a batch, `seed + index`.

    It depends on the index only, so that no video depends on the batch size.

    Raises:
        InputError: `seed` is not an int from 0 to 2**64 - 1.
    """
    if not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
        raise InputError(
            f"got seed {seed!r}, expected an int from 0 to 2**64 - 1: choose one of these"
        )
    return (seed + index) % (MAX_SEED + 1)
