"""Single frames of videos as training images."""

from __future__ import annotations

import hashlib
import math
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ...curation.sources import VIDEO_SUFFIXES
from ...errors import InputError
from ...inputs.names import walk
from ...inputs.text import as_unicode
from ...terminal import get_logger
from ...video.reader import open_video

logger = get_logger(__name__)

CROP = 256  # pixels of a side
LAST_FRAME = 160  # frames are drawn up to here: all before have to be decoded
HELD_OUT_EVERY = 20  # one in 20 videos is not trained on


@dataclass(frozen=True)
class VideoFrames:
    """Random crops of random frames of videos; an unreadable video is replaced by the next.

    Attributes:
        files: the videos.
        skipped: reasons by name, for the unusable videos this process has met.
    """

    files: Sequence[Path]
    skipped: dict[str, str] = field(default_factory=dict)

    def __call__(self, seeds: Sequence[int]) -> Tensor:
        """Return an image for each seed, `[B, 3, CROP, CROP]` in -1..1; small frames are enlarged.

        Raises:
            InputError: none of the videos can be read.
        """
        return torch.stack([self._image(seed) for seed in seeds])

    def _image(self, seed: int) -> Tensor:
        first = random.Random(f"file {seed}").randrange(len(self.files))
        for attempt in range(len(self.files)):
            file = self.files[(first + attempt) % len(self.files)]
            if str(file) in self.skipped:
                continue
            try:
                rng = random.Random(seed)
                return _crop(_frame(file, rng), rng)
            except InputError as error:
                self.skipped[str(file)] = str(error)
                logger.warning("%s; %d videos left out so far", error, len(self.skipped))
        raise InputError(f"got {len(self.files)} videos of which none can be used: give others")


def open_frames(folder: Path) -> tuple[VideoFrames, VideoFrames]:
    """Open the videos in a folder; return those to train on and those held out.

    Raises:
        InputError: there are fewer than two videos.
    """
    found = (file for inner in walk(folder) for file in inner.files)
    files = [file for file in found if file.suffix.lower() in VIDEO_SUFFIXES]
    if len(files) < 2:
        raise InputError(
            f"got folder {folder} with {len(files)} videos, expected some to train on and one to "
            "measure with: check --videos"
        )
    names = {file: as_unicode(str(file.relative_to(folder))).encode() for file in files}
    files.sort(key=lambda file: hashlib.sha256(names[file]).digest())  # a random order
    count = math.ceil(len(files) / HELD_OUT_EVERY)
    return VideoFrames(files[count:]), VideoFrames(files[:count])


def _frame(file: Path, rng: random.Random) -> Tensor:
    """Read a random frame `[3, H, W]` in -1..1."""
    with open_video(file) as video:
        count = int((video.duration or 0) * video.fps)
        until = 1 + rng.randrange(min(max(count, 1), LAST_FRAME))
        last = deque(islice(video.frames, until), maxlen=1)
    if not last:
        raise InputError(f"{file.name} holds no frame: get it again")
    return torch.from_numpy(np.array(last.pop())).permute(2, 0, 1) / 127.5 - 1


def _crop(frame: Tensor, rng: random.Random) -> Tensor:
    if (short := min(frame.shape[1:])) < CROP:
        size = [math.ceil(side * CROP / short) for side in frame.shape[1:]]
        frame = nn.functional.interpolate(frame[None], size=size, mode="bilinear")[0]
    top, left = (rng.randint(0, side - CROP) for side in frame.shape[1:])
    return frame[:, top : top + CROP, left : left + CROP]
