"""VBench's temporal flickering, which needs neither a network nor VBench's package.

Its 75 prompts describe still scenes. VBench recommends keeping only static videos, selected by
optical flow with `vbench static_filter`, since motion counts as flicker.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np

from ...errors import InputError
from ...video.reader import open_video


def temporal_flickering(frames: Iterable[np.ndarray]) -> float:
    """Return the flicker score; 1 is a still image (arXiv 2311.17982, section 3.2).

    score = (255 - mean d) / 255, where d is the mean absolute difference of two neighboring frames
    over all pixels and channels.

    Args:
        frames: uint8 frames `[H, W, 3]`; only two are held at a time.

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
    """Return the `temporal_flickering` of a video file."""
    with open_video(path) as video:
        return temporal_flickering(video.frames)
