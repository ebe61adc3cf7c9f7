"""The best of several seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import comfy.model_patcher
import comfy.sd
from comfy_api.input_impl import VideoFromComponents
from torch import Tensor

from ...hummingbird_core.errors import InputError
from ...hummingbird_core.vqa import Score, find_defects
from .files import NO_DOVER
from .frames import check_vae, decode, videos_of
from .page import say
from .sampling import Conditioning, Latent, SamplingConfig, sample_video
from .scoring import number, rating, sheet_row, shown_score

LEARNED = ("overall", "technical", "aesthetic")
METRICS = ("auto", *LEARNED, "motion_smoothness")


@dataclass(frozen=True)
class Take:
    """What is kept of one seed's video; `row` is for the contact sheet."""

    seed: int
    score: Score
    value: float
    row: Tensor

    @property
    def rank(self) -> tuple[int, float]:
        """Higher is better: first fewer faults, then the metric, if it could be measured."""
        return -len(find_defects(self.score)), -math.inf if math.isnan(self.value) else self.value


@dataclass(frozen=True)
class Takes:
    """All takes, best first, and the video of the best: all of them could fill the memory."""

    takes: list[Take]
    metric: str
    images: Tensor
    latent: Latent
    video: VideoFromComponents

    @property
    def best(self) -> Take:
        return self.takes[0]

    @property
    def shown(self) -> list[dict[str, Any]]:
        return [{"seed": take.seed, **shown_score(take.score)} for take in self.takes]

    @property
    def report(self) -> str:
        lines = [
            f"seed {take.seed}: {self.metric} {take.value:.4g}, "
            f"faults: {', '.join(find_defects(take.score)) or 'none'}"
            for take in self.takes
        ]
        return "\n".join(lines)


def best_of(
    model: comfy.model_patcher.ModelPatcher,
    positive: Conditioning,
    vae: comfy.sd.VAE,
    settings: SamplingConfig,
    seeds: Sequence[int],
    *,
    negative: Conditioning | None = None,
    metric: str = "auto",
    threshold: float = 0.0,
    dover: str = NO_DOVER,
) -> Takes:
    """Makes a video of each seed until one without faults reaches the threshold (0: never).

    Raises:
        InputError: the metric needs weights that were not given, or names the input to change.
    """
    check_vae(vae)  # before minutes of sampling
    metric = _metric(metric, dover)
    rate = rating(dover)
    takes: list[Take] = []
    for index, seed in enumerate(seeds, start=1):
        say(f"seed {seed}: {index} of {len(seeds)}")
        latent = sample_video(model, positive, settings, seed, negative=negative)
        images = decode(vae, latent)
        score = rate(images, settings.fps)
        take = Take(seed, score, number(score, metric), sheet_row(images))
        if all(take.rank > earlier.rank for earlier in takes):
            best = images, latent
        takes.append(take)
        if threshold > 0 and take.value >= threshold and not find_defects(score):
            break
    takes.sort(key=lambda take: take.rank, reverse=True)
    say(f"best: seed {takes[0].seed}")
    images, latent = best
    (video,) = videos_of(images, latent, settings.fps)
    return Takes(takes, metric, images, latent, video)


def _metric(metric: str, dover: str) -> str:
    if metric == "auto":
        return "motion_smoothness" if dover == NO_DOVER else "overall"
    if metric in LEARNED and dover == NO_DOVER:
        raise InputError(
            f"input dover: got none, but {metric} is measured by DOVER: choose its weights, or "
            "metric motion_smoothness"
        )
    return metric
