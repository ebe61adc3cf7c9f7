"""Helpers of the in-process tests of our nodes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from support.comfy.graphs import FRAMES

SIZE = {"width": 64, "height": 64}


def encode(adapter: SimpleNamespace, models: Any, prompt: str) -> list:
    """CONDITIONING of a prompt."""
    return adapter.text.encode(models.clip, adapter.text.tokenize(models.clip, prompt))


def settings(adapter: SimpleNamespace, **changes: Any) -> Any:
    """Return settings of Sample Video: a short video in two steps, but for `changes`."""
    values = {**SIZE, "frames": FRAMES, "steps": 2, "guidance": 7.5, "fps": 8.0}
    return adapter.sample.SamplingConfig(**{**values, **changes})
