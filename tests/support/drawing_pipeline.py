"""A pipeline that draws what its prompts say, and so makes no mistake."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
from support.shape_clips import frames_of

from hummingbird_core.nano.world.scene import Scene


class DrawingPipeline:
    """Draws a scene for each prompt.

    Attributes:
        draw: returns the scene of a prompt.
        prompts: those so far.
    """

    def __init__(self, draw: Callable[[str], Scene]):
        self.draw = draw
        self.prompts: list[str] = []

    def __call__(self, prompts: list[str], **settings) -> SimpleNamespace:
        """Return an output with uint8 `frames` `[B, T, H, W, 3]`; `settings` change nothing."""
        self.prompts += prompts
        return SimpleNamespace(frames=np.stack([frames_of(self.draw(text)) for text in prompts]))
