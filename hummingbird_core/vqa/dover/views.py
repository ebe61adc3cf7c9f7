"""The two views of a video for DOVER (arXiv 2211.04894, section 3.2; 2207.02595, 3.1).

Technical: three clips of 32 frames, each a mosaic of 7 x 7 fragments of 32 x 32 pixels cropped at
full resolution, one from each cell of a grid; a fragment keeps its position through a clip.
Aesthetic: 32 frames spread over the video, resized.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ...errors import InputError
from . import DEFAULT_SEED

CLIP_FRAMES = 32
TECHNICAL_CLIPS = 3
TECHNICAL_INTERVAL = 2  # stride between the frames of a clip
FRAGMENTS = 7  # along each side of the mosaic
FRAGMENT_SIZE = 32  # pixels
VIEW_SIZE = FRAGMENTS * FRAGMENT_SIZE  # 224 pixels, in both views
VIEW_SHAPE = (VIEW_SIZE, VIEW_SIZE, 3)

MEAN = (123.675, 116.28, 103.53)  # ImageNet, for pixels of 0..255
STD = (58.395, 57.12, 57.375)


def technical_indices(num_frames: int) -> list[int]:
    """Return the frames of the technical view, clip by clip; short videos wrap around."""
    starts = (clip * (num_frames // TECHNICAL_CLIPS) for clip in range(TECHNICAL_CLIPS))
    steps = range(0, CLIP_FRAMES * TECHNICAL_INTERVAL, TECHNICAL_INTERVAL)
    return [(start + step) % num_frames for start in starts for step in steps]


def aesthetic_indices(num_frames: int) -> list[int]:
    """Return the frames of the aesthetic view: the first of each 32nd of the video.

    For a video of less than 32 frames this is the first frame only, as in the original.
    """
    return [index * (num_frames // CLIP_FRAMES) for index in range(CLIP_FRAMES)]


def dover_views(
    frames: Iterable[np.ndarray], num_frames: int, seed: int | None = DEFAULT_SEED
) -> dict[str, Tensor]:
    """Build both normalized views of a video in one pass, in the memory of one frame.

    Args:
        frames: uint8 `[H, W, 3]` each, in order; all of one size.
        num_frames: number of frames.
        seed: seed of the fragments' positions; equal seeds give equal scores. None draws from
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
    """Return the positions of a frame in a clip; a short video repeats frames."""
    return [place for place, index in enumerate(indices) if index == number]


def fragment_corners(height: int, width: int, generator: torch.Generator | None) -> Tensor:
    """Draw the upper left corner of each fragment.

    Each fragment lies in one cell of the grid, at a random position if the cell is larger.

    Returns:
        `[clips, 2, FRAGMENTS, FRAGMENTS]`, rows then columns.
    """
    rows = _offsets(height, generator) + _cell_starts(height)[:, None, None]
    columns = _offsets(width, generator) + _cell_starts(width)[None, :, None]
    # [2, 7, 7, clips] -> [clips, 2, 7, 7]
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
    """Return the mosaic of the fragments of one frame.

    Args:
        frame: uint8 `[H, W, 3]`. A frame smaller than the mosaic is enlarged; the corners do not
            follow, so that its lower right is not seen, as in the original.
        corners: `[2, FRAGMENTS, FRAGMENTS]`.

    Returns:
        uint8 `[224, 224, 3]`.
    """
    frame = _enlarge(frame)
    steps = torch.arange(FRAGMENT_SIZE)
    rows = corners[0][:, :, None, None] + steps[:, None]  # [i, j, y, 1]
    columns = corners[1][:, :, None, None] + steps  # [i, j, 1, x]
    # [7, 7, 32, 32, 3] -> [224, 224, 3]
    return rearrange(frame[rows, columns], "i j y x c -> (i y) (j x) c")


def _enlarge(frame: Tensor) -> Tensor:
    """Enlarge a frame `[H, W, 3]` so that its shorter side has at least 224 pixels."""
    scale = VIEW_SIZE / min(frame.shape[:2])
    if scale <= 1:
        return frame
    image = rearrange(frame, "h w c -> 1 c h w") / 255
    image = F.interpolate(image, scale_factor=scale, mode="bilinear")
    # Truncated, not rounded: some pixels are one level too low, as in the original.
    return rearrange((image * 255).byte(), "1 c h w -> h w c")


def resize(frame: Tensor) -> Tensor:
    """Resize a frame uint8 `[H, W, 3]` to `[224, 224, 3]`, any aspect ratio, rounded floats."""
    image = rearrange(frame, "h w c -> 1 c h w").float()
    size = (VIEW_SIZE, VIEW_SIZE)
    image = F.interpolate(image, size, mode="bilinear", antialias=True).round().clamp(0, 255)
    return rearrange(image, "1 c h w -> h w c")


def normalize(view: Tensor) -> Tensor:
    """Normalize pixels of 0..255: `[clips, T, H, W, 3] -> [clips, 3, T, H, W]`."""
    view = (view - torch.tensor(MEAN)) / torch.tensor(STD)
    return rearrange(view, "clip t h w c -> clip c t h w")
