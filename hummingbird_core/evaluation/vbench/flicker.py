"""VBench's temporal flickering, which needs no network and so not its package either.

Its 75 prompts ask for still scenes. VBench recommends to keep only videos that came out still,
which its `vbench static_filter` finds by optical flow; what moves would count as flicker.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np

from ...errors import InputError
from ...video.reader import open_video


def temporal_flickering(frames: Iterable[np.ndarray]) -> float:
    """How little neighbouring frames differ: 1 is a still picture (arXiv 2311.17982, section 3.2).

    With d the mean absolute difference of two neighbours over all pixels and colours, the score
    is (255 - mean of d) / 255.

    Args:
        frames: uint8 `[H, W, 3]` each; only two are held at a time.

    Raises:
        InputError: fewer than two frames.
    """
    differences = [
        float(np.abs(before.astype(np.int16) - after.astype(np.int16)).mean())
        for before, after in pairwise(frames)
    ]
    if not differences:
        raise InputError("got a video of fewer than 2 frames, expected some to compare")
    return (255 - float(np.mean(differences))) / 255


def flicker_of_file(path: Path) -> float:
    """`temporal_flickering` of a video file."""
    with open_video(path) as video:
        return temporal_flickering(video.frames)
