"""The interface of models that embed videos and texts in one space, and checks of their answers."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from ..errors import HummingbirdError

KIND = "model of agreement"  # in errors
FRAMES = 8  # of a video that a model for images sees


class TextVideoModel(Protocol):
    """Embeds videos and texts so that those that belong together point the same way."""

    def embed_video(self, frames: np.ndarray) -> Any:
        """Return a vector `[D]` of a video, uint8 `[T, H, W, 3]`."""
        ...

    def embed_text(self, text: str) -> Any:
        """Return a vector `[D]` of a text."""
        ...


def unit_vector(answer: Any) -> np.ndarray:
    """Return a model's answer with length 1, float32 `[D]`, rounded so that it can be stored.

    Raises:
        HummingbirdError: the answer is no vector of finite numbers that are not all zero.
    """
    try:
        vector = np.asarray(answer, dtype=np.float64)
    except (TypeError, ValueError):
        vector = np.empty((0, 0))
    length = float(np.linalg.norm(vector)) if vector.ndim == 1 else 0.0
    if not (np.isfinite(length) and length > 0):
        raise HummingbirdError(
            f"got {type(answer).__name__} of shape {list(vector.shape)} from the model of "
            "agreement, expected a vector of finite numbers: choose another model"
        )
    return (vector / length).astype(np.float16).astype(np.float32)


def cosine(video: np.ndarray, text: np.ndarray) -> float:
    """Return how well a video and a text agree, -1 to 1.

    Raises:
        HummingbirdError: the vectors are of different spaces.
    """
    if video.shape != text.shape:
        raise HummingbirdError(
            f"got {len(video)} numbers for a video and {len(text)} for a text from the model of "
            "agreement, expected equally many: choose another model"
        )
    return float(video @ text)


def spread_frames(count: int, wanted: int = FRAMES) -> np.ndarray:
    """Return the indices of at most `wanted` frames, evenly apart from the first to the last."""
    return np.linspace(0, count - 1, min(wanted, count)).round().astype(int)
