"""Numbers of sampling steps that people ask for; without torch, like all of this folder."""

from __future__ import annotations

from typing import Any

from ..errors import InputError

TRAIN_TIMESTEPS = 1000  # of Stable Diffusion's noise schedule
CONSISTENCY_GRID = 50  # timesteps that consistency distillation trained on, thus the most steps


def check_steps(steps: Any, most: int) -> None:
    """Raise InputError unless `steps` is an int from 1 to `most`."""
    if not isinstance(steps, int) or not 1 <= steps <= most:
        raise InputError(
            f"got {steps!r} steps, expected an int from 1 to {most}: choose one of these"
        )
