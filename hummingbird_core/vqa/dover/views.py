"""The two views of a video that DOVER looks at (arXiv 2211.04894, section 3.2; 2207.02595, 3.1).

Technical: three clips of 32 frames, each a mosaic of 7 x 7 fragments of 32 x 32 pixels that are cut
out at full resolution, one from each cell of a grid; a fragment stays in its place through a clip.
Aesthetic: 32 frames from all over the video, resized.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ...errors import InputError

CLIP_FRAMES = 32
TECHNICAL_CLIPS = 3
TECHNICAL_INTERVAL = 2  # frames from one of a clip to the next
FRAGMENTS = 7  # in a row, and in a column
FRAGMENT_SIZE = 32  # pixels
VIEW_SIZE = FRAGMENTS * FRAGMENT_SIZE  # 224 pixels, of both views
VIEW_SHAPE = (VIEW_SIZE, VIEW_SIZE, 3)

DEFAULT_SEED = 42  # the authors'
MEAN = (123.675, 116.28, 103.53)  # of ImageNet, for pixels of 0..255
STD = (58.395, 57.12, 57.375)


def technical_indices(num_frames: int) -> list[int]:
    """Frames of the technical view, clip after clip; a video that ends too soon begins again."""
    starts = (clip * (num_frames // TECHNICAL_CLIPS) for clip in range(TECHNICAL_CLIPS))
    steps = range(0, CLIP_FRAMES * TECHNICAL_INTERVAL, TECHNICAL_INTERVAL)
    return [(start + step) % num_frames for start in starts for step in steps]


def aesthetic_indices(num_frames: int) -> list[int]:
    """Frames of the aesthetic view: the first of each 32nd of the video.

    Of a video of less than 32 frames that is the first frame only, as in the original.
    """
    return [index * (num_frames // CLIP_FRAMES) for index in range(CLIP_FRAMES)]


def dover_views(
    frames: Iterable[np.ndarray], num_frames: int, seed: int | None = DEFAULT_SEED
) -> dict[str, Tensor]:
    """Both views of a video, normalized, in one pass and in the memory of one frame.

    Args:
        frames: uint8 `[H, W, 3]` each, in order; all of one size.
        num_frames: how many there are.
        seed: decides where fragments are cut; the same seed gives the same score. None draws from
            torch's global generator, as the original does.

    Returns:
        "technical" `[3, 3, 32, 224, 224]`, a batch of three clips, and
        "aesthetic" `[1, 3, 32, 224, 224]`.

    Raises:
        InputError: there are fewer frames than `num_frames`.
    """
    clips = _by_clip(technical_indices(num_frames))
    (whole,) = _by_clip(aesthetic_indices(num_frames))
    technical = torch.empty(len(clips), CLIP_FRAMES, *VIEW_SHAPE)
    aesthetic = torch.empty(1, CLIP_FRAMES, *VIEW_SHAPE)
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    corners: Tensor | None = None
    number = -1
    for number, frame in enumerate(frames):
        pixels = torch.from_numpy(np.array(frame))  # a copy: decoded frames are read-only
        if corners is None:
            corners = fragment_corners(frame.shape[0], frame.shape[1], generator)
        for clip, indices in enumerate(clips):
            if number in indices:
                fragments = cut_fragments(pixels, corners[clip]).float()
                technical[clip, _places(number, indices)] = fragments
        if number in whole:
            aesthetic[0, _places(number, whole)] = resize(pixels)
    if number + 1 < num_frames:
        raise InputError(f"got {number + 1} frames, expected {num_frames}: the video is damaged")
    return {"technical": normalize(technical), "aesthetic": normalize(aesthetic)}


def _by_clip(indices: list[int]) -> list[list[int]]:
    return [indices[i : i + CLIP_FRAMES] for i in range(0, len(indices), CLIP_FRAMES)]


def _places(number: int, indices: list[int]) -> list[int]:
    """Where in a clip a frame is shown: more than once if the video is short."""
    return [place for place, index in enumerate(indices) if index == number]


def fragment_corners(height: int, width: int, generator: torch.Generator | None) -> Tensor:
    """Upper left corner of each fragment, `[clips, 2, FRAGMENTS, FRAGMENTS]`, rows then columns.

    Each fragment lies in its own cell of the grid, at a random place if the cell has room.
    """
    rows = _offsets(height, generator) + _cell_starts(height)[:, None, None]
    columns = _offsets(width, generator) + _cell_starts(width)[None, :, None]
    return rearrange(torch.stack([rows, columns]), "k i j clip -> clip k i j")


def _offsets(length: int, generator: torch.Generator | None) -> Tensor:
    room = length // FRAGMENTS - FRAGMENT_SIZE
    shape = (FRAGMENTS, FRAGMENTS, TECHNICAL_CLIPS)
    if room <= 0:
        return torch.zeros(shape, dtype=torch.long)
    return torch.randint(room, shape, generator=generator)


def _cell_starts(length: int) -> Tensor:
    starts = torch.arange(FRAGMENTS) * (length // FRAGMENTS)
    return starts.clamp(max=max(length - FRAGMENT_SIZE, 0))


def cut_fragments(frame: Tensor, corners: Tensor) -> Tensor:
    """Mosaic of the fragments of one frame.

    Args:
        frame: uint8 `[H, W, 3]`. One that is smaller than the mosaic is enlarged; the corners
            stay as they are, so that its lower right is not seen. The original does so too.
        corners: `[2, FRAGMENTS, FRAGMENTS]`.

    Returns:
        uint8 `[224, 224, 3]`.
    """
    frame = _enlarge(frame)
    steps = torch.arange(FRAGMENT_SIZE)
    rows = corners[0][:, :, None, None] + steps[:, None]  # [i, j, y, 1]
    columns = corners[1][:, :, None, None] + steps  # [i, j, 1, x]
    return rearrange(frame[rows, columns], "i j y x c -> (i y) (j x) c")


def _enlarge(frame: Tensor) -> Tensor:
    """So that the shorter side has 224 pixels at least."""
    scale = VIEW_SIZE / min(frame.shape[:2])
    if scale <= 1:
        return frame
    image = rearrange(frame, "h w c -> 1 c h w") / 255
    image = F.interpolate(image, scale_factor=scale, mode="bilinear")
    # Cut off, not rounded: some pixels are one less than they should be, as in the original.
    return rearrange((image * 255).byte(), "1 c h w -> h w c")


def resize(frame: Tensor) -> Tensor:
    """A frame uint8 `[H, W, 3]` made `[224, 224, 3]`, whatever its proportions; whole numbers."""
    image = rearrange(frame, "h w c -> 1 c h w").float()
    size = (VIEW_SIZE, VIEW_SIZE)
    image = F.interpolate(image, size, mode="bilinear", antialias=True).round().clamp(0, 255)
    return rearrange(image, "1 c h w -> h w c")


def normalize(view: Tensor) -> Tensor:
    """Pixels of 0..255 `[clips, T, H, W, 3]` to network input `[clips, 3, T, H, W]`."""
    view = (view - torch.tensor(MEAN)) / torch.tensor(STD)
    return rearrange(view, "clip t h w c -> clip c t h w")
