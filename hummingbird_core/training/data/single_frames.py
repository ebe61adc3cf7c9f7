"""Single frames of videos as training pictures."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ...curation.sources import VIDEO_SUFFIXES
from ...errors import InputError
from ...video_reader import open_video

CROP = 256  # pixels of a side
MOST_FRAMES = 160  # of a video, of which one is taken: all before it have to be decoded


class VideoFrames:
    """Random crops of random frames of the videos in a folder.

    Raises:
        InputError: there are none.
    """

    def __init__(self, folder: Path):
        files = (file for file in folder.rglob("*") if file.suffix.lower() in VIDEO_SUFFIXES)
        self.files = sorted(files)
        if not self.files:
            raise InputError(f"got folder {folder} without videos, expected some: check --videos")

    def __call__(self, seeds: Sequence[int]) -> Tensor:
        """A picture for each seed, `[B, 3, CROP, CROP]` in -1..1; smaller frames are enlarged."""
        randoms = map(random.Random, seeds)
        return torch.stack([_crop(_frame(rng.choice(self.files), rng), rng) for rng in randoms])


def _frame(file: Path, rng: random.Random) -> Tensor:
    """`[3, H, W]` in -1..1."""
    with open_video(file) as video:
        count = int((video.duration or 0) * video.fps)
        until = 1 + rng.randrange(min(max(count, 1), MOST_FRAMES))
        frame = deque(islice(video.frames, until), maxlen=1).pop()
    return torch.from_numpy(np.array(frame)).permute(2, 0, 1) / 127.5 - 1


def _crop(frame: Tensor, rng: random.Random) -> Tensor:
    if (short := min(frame.shape[1:])) < CROP:
        size = [math.ceil(side * CROP / short) for side in frame.shape[1:]]
        frame = nn.functional.interpolate(frame[None], size=size, mode="bilinear")[0]
    top, left = (rng.randint(0, side - CROP) for side in frame.shape[1:])
    return frame[:, top : top + CROP, left : left + CROP]
