"""Small pictures of large frames: what most stages look at."""

from __future__ import annotations

import numpy as np
from einops import rearrange, reduce

from ...vqa.measures.frames import LUMA


def gray_frames(frames: np.ndarray, long_side: int) -> np.ndarray:
    """Brightness of `frames` (uint8 [T,H,W,3]) with at most `long_side` pixels: float32 [T,h,w].

    Shrunk by area; frames smaller than that keep their size.
    """
    height, width = frames.shape[1:3]
    factor = min(1.0, long_side / max(height, width))
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    # One by one: as floats a clip is four times as large, and the workers are many.
    return np.stack([_small_gray(frame, size) for frame in frames])


def fit_height(frame: np.ndarray, max_height: int) -> np.ndarray:
    """A frame (uint8 [H,W,3]) shrunk by the least whole number to at most `max_height` rows."""
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
    """One frame (uint8 [H,W,3]) as float32 [side,side], shrunk by area without its proportions."""
    return _small_gray(frame, (side, side))


def _small_gray(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    import torch
    from torch.nn.functional import interpolate

    gray = torch.from_numpy(frame @ LUMA)
    small = interpolate(gray[None, None], size=size, mode="area")
    return rearrange(small, "1 1 h w -> h w").numpy()
