"""The frames of a video that the U-Net sees in one call: all of them, or those of a window."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class ClipFrames:
    """Frames of a video, in the order in which the U-Net sees them.

    Attributes:
        frames: their numbers, `[N]` int64; None for all frames.
        loop: whether the first of them follows the last one.
    """

    frames: Tensor | None = None
    loop: bool = False

    def of_latents(self, latents: Tensor) -> Tensor:
        """Return the frames among those of a video `[..., T, h, w]`."""
        return latents if self.frames is None else latents[..., self.frames, :, :]

    def unet_inputs(self, text_weights: Tensor | None) -> dict[str, Any]:
        """Return the U-Net's arguments for these frames that it needs besides the common ones.

        Args:
            text_weights: weights of the texts in each frame of the video, `[B, T, K]`; None if
                there is one text.
        """
        inputs: dict[str, Any] = {"loop": True} if self.loop else {}
        if text_weights is not None:
            frames = slice(None) if self.frames is None else self.frames
            inputs["text_weights"] = text_weights[:, frames]
        return inputs


WHOLE = ClipFrames()

# (noisy latents [B, 4, N, h, w] of a clip, timestep, the clip) -> predicted noise, float32 of the
# same shape
ClipEpsModel = Callable[[Tensor, int, ClipFrames], Tensor]
