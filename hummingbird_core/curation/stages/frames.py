"""Area-averaged small frames, the input of most stages."""

from __future__ import annotations

import numpy as np
from einops import rearrange, reduce


def gray_frames(frames: np.ndarray, long_side: int) -> np.ndarray:
    """Return the luma of frames, area-averaged to at most `long_side` pixels.

    Args:
        frames: uint8 [T, H, W, 3]; frames smaller than `long_side` keep their size.
        long_side: maximum length of the longer side, pixels.

    Returns:
        float32 [T, h, w] of 0..255.
    """
    height, width = frames.shape[1:3]
    factor = min(1.0, long_side / max(height, width))
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    # Frame by frame: as floats a clip takes four times the memory, in every worker.
    return np.stack([_small_gray(frame, size) for frame in frames])


def fit_height(frame: np.ndarray, max_height: int) -> np.ndarray:
    """Shrink a frame, uint8 [H, W, 3], by an integer factor to at most `max_height` rows."""
    factor = -(-frame.shape[0] // max_height)
    if factor <= 1:
        return frame
    height, width = (side // factor * factor for side in frame.shape[:2])
    means = reduce(
        frame[:height, :width].astype(np.float32),
        "(h a) (w b) c -> h w c",
        "mean",
        a=factor,
        b=factor,
    )
    return (means + 0.5).astype(np.uint8)


def square_gray(frame: np.ndarray, side: int) -> np.ndarray:
    """Return the luma of a frame (uint8 [H, W, 3]) area-averaged to float32 [side, side].

    The aspect ratio is not preserved.
    """
    return _small_gray(frame, (side, side))


def _small_gray(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    import torch
    from torch.nn.functional import interpolate

    from ...vqa.measures.frames import LUMA

    gray = torch.from_numpy(frame @ LUMA)
    small = interpolate(gray[None, None], size=size, mode="area")
    return rearrange(small, "1 1 h w -> h w").numpy()
