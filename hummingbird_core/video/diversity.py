"""Diversity of a model's videos: how much a seed changes, and whether all that is real is covered.

Accuracy does not see a model that always makes the same right video. Distillation and rewards lead
there (mode collapse), so every validation measures both.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NEIGHBORS = 5  # k
LARGEST_LOSS = 0.2  # share of the diversity at the start that a run may lose without a warning


def seed_distance(videos: Tensor) -> Tensor:
    """Return the mean absolute distance between two seeds of one prompt.

    Args:
        videos: `[P, S, ...]`, S seeds of each of P prompts; of pixels or of features.

    Returns:
        `[P]`, in the units of `videos`.

    Raises:
        ValueError: there are fewer than two seeds.
    """
    if videos.shape[1] < 2:
        raise ValueError(f"got {videos.shape[1]} seeds of a prompt, expected at least 2")
    seeds = videos.float().flatten(2)  # [P, S, D]
    first, second = torch.triu_indices(seeds.shape[1], seeds.shape[1], offset=1)
    return (seeds[:, first] - seeds[:, second]).abs().mean(dim=(1, 2))


@dataclass(frozen=True)
class Coverage:
    """Agreement of generated with real videos (Naeem et al. 2020, arXiv 2002.09797).

    Attributes:
        density: real neighborhoods that contain a generated video, per video over k: 1 where both
            sets are alike, less where generated videos look unlike any real one.
        coverage: share of the real videos with a generated one among their k nearest: less than
            that of real against real where kinds of videos are missing.
    """

    density: float
    coverage: float


def density_and_coverage(real: Tensor, generated: Tensor, neighbors: int = NEIGHBORS) -> Coverage:
    """Measure density and coverage in the space of some features.

    Args:
        real: features `[N, D]`, of an encoder that no reward of the training uses.
        generated: `[M, D]`.
        neighbors: k.

    Raises:
        ValueError: there are too few real videos.
    """
    if len(real) <= neighbors:
        raise ValueError(f"got {len(real)} real videos, expected more than k = {neighbors}")
    # The nearest is the video itself: k + 1 smallest distances.
    within = torch.cdist(real, real).kthvalue(neighbors + 1, dim=1).values  # [N], radius of each
    distance = torch.cdist(real, generated)  # [N, M]
    is_inside = distance <= within[:, None]
    density = is_inside.float().sum(dim=0).mean() / neighbors
    return Coverage(float(density), float(is_inside.any(dim=1).float().mean()))


def has_collapsed(diversity: float, at_start: float) -> bool:
    """Return whether a run has lost more than a fifth of the diversity that it began with."""
    return diversity < (1 - LARGEST_LOSS) * at_start
