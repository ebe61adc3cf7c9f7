"""Sampling steps that people ask for, and the noise schedule that they divide.

Without torch, like all of this folder: the samplers in torch and in numpy share these numbers.
"""

from __future__ import annotations

from typing import Any

from ..errors import InputError

TRAIN_TIMESTEPS = 1000  # of Stable Diffusion's noise schedule
CONSISTENCY_GRID = 50  # timesteps that consistency distillation trained on, thus the most steps


BETA_START, BETA_END = 0.00085, 0.012  # b_0 and b_999
LATENT_SCALE, LATENT_SCALE_TIMESTEPS = 0.7, 400  # s_t falls from 1 to 0.7 over t < 400


def consistency_grid(steps: int) -> list[int]:
    """Return the timesteps of `steps` consistency steps, falling; for 4 steps: 999 759 519 279.

    Of the 50 timesteps 20 (i + 1) - 1 of the distillation grid, from the noisiest on, every
    (50 // steps)-th.

    Raises:
        InputError: `steps` is not an int from 1 to 50.
    """
    check_steps(steps, CONSISTENCY_GRID)
    grid = range(TRAIN_TIMESTEPS - 1, 0, -(TRAIN_TIMESTEPS // CONSISTENCY_GRID))  # 999, ..., 19
    # Where 50 / steps leaves a rest, the stride gives more than `steps` entries: cut off the end.
    return list(grid[:: CONSISTENCY_GRID // steps][:steps])


def check_steps(steps: Any, most: int) -> None:
    """Raise InputError unless `steps` is an int from 1 to `most`."""
    if not isinstance(steps, int) or not 1 <= steps <= most:
        raise InputError(
            f"got {steps!r} steps, expected an int from 1 to {most}: choose one of these"
        )
