"""The best of several seeds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import comfy.model_patcher
import comfy.sd
from torch import Tensor

from ...hummingbird_core.errors import InputError
from ...hummingbird_core.vqa import Score, faults
from .files import NO_DOVER
from .frames import decode
from .sampling import Conditioning, Latent, VideoSettings, sample_video
from .scoring import number, rating, shown_score

LEARNED = ("overall", "technical", "aesthetic")
METRICS = ("auto", *LEARNED, "motion_smoothness")


@dataclass(frozen=True)
class Take:
    """One seed's video."""

    seed: int
    images: Tensor
    latent: Latent
    score: Score
    value: float

    @property
    def rank(self) -> tuple[int, float]:
        """Higher is better: first fewer faults, then the metric."""
        return -len(faults(self.score)), self.value


@dataclass(frozen=True)
class Takes:
    """All takes, best first."""

    takes: list[Take]
    metric: str

    @property
    def best(self) -> Take:
        return self.takes[0]

    @property
    def sheets(self) -> list[Tensor]:
        return [take.images for take in self.takes]

    @property
    def shown(self) -> list[dict[str, Any]]:
        return [{"seed": take.seed, **shown_score(take.score)} for take in self.takes]

    @property
    def report(self) -> str:
        lines = [
            f"seed {take.seed}: {self.metric} {take.value:.4g}, "
            f"faults: {', '.join(faults(take.score)) or 'none'}"
            for take in self.takes
        ]
        return "\n".join(lines)


def best_of(
    model: comfy.model_patcher.ModelPatcher,
    positive: Conditioning,
    vae: comfy.sd.VAE,
    settings: VideoSettings,
    seeds: Iterable[int],
    *,
    negative: Conditioning | None = None,
    metric: str = "auto",
    threshold: float = 0.0,
    dover: str = NO_DOVER,
) -> Takes:
    """Makes a video of each seed until one without faults reaches the threshold (0: never).

    Raises:
        InputError: the metric needs weights that were not given.
    """
    metric = _metric(metric, dover)
    rate = rating(dover)
    takes: list[Take] = []
    for seed in seeds:
        latent = sample_video(model, positive, settings, seed, negative=negative)
        images = decode(vae, latent)
        score = rate(images, settings.fps)
        takes.append(Take(seed, images, latent, score, number(score, metric)))
        if threshold > 0 and takes[-1].value >= threshold and not faults(score):
            break
    return Takes(sorted(takes, key=lambda take: take.rank, reverse=True), metric)


def _metric(metric: str, dover: str) -> str:
    if metric == "auto":
        return "motion_smoothness" if dover == NO_DOVER else "overall"
    if metric in LEARNED and dover == NO_DOVER:
        raise InputError(
            f"input dover: got none, but {metric} is measured by DOVER: choose its weights, or "
            "metric motion_smoothness"
        )
    return metric
