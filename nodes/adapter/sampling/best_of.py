"""Best of N: sample several seeds, score each video, keep the best."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import comfy.model_patcher
import comfy.sd
from comfy_api.input_impl import VideoFromComponents
from torch import Tensor

from ....hummingbird_core.agreement.load import is_import_name, load_text_video
from ....hummingbird_core.errors import InputError
from ....hummingbird_core.generation.best_of import agreement_with
from ....hummingbird_core.hub.local import BUILT_IN_AGREEMENT
from ....hummingbird_core.vqa import Score, find_defects
from ..errors import naming
from ..io.files import NO_DOVER
from ..io.frames import check_vae, decode, videos_of
from ..io.latents import Latent
from ..io.scoring import number, rating, sheet_row, shown_score
from ..model.timeline import PROMPT_KEY
from ..ui.progress import send_progress_text
from .sample import Conditioning, SamplingConfig, sample_video

LEARNED = ("overall", "technical", "aesthetic")
AGREEMENT = "agreement"
METRICS = ("auto", *LEARNED, "motion_smoothness", AGREEMENT)


@dataclass(frozen=True)
class Candidate:
    """One seed's video, without its frames.

    Attributes:
        seed: the seed it was sampled with.
        score: all measures.
        value: the measure that decides; NaN if it could not be measured.
        row: its row `[h, w, 3]` of the contact sheet.
    """

    seed: int
    score: Score
    value: float
    row: Tensor

    @property
    def rank(self) -> tuple[int, float]:
        """Sort key, higher is better: fewer defects first, then the metric."""
        return -len(find_defects(self.score)), -math.inf if math.isnan(self.value) else self.value


@dataclass(frozen=True)
class RankedCandidates:
    """All candidates, best first, with the frames of the best only, to save memory."""

    candidates: list[Candidate]
    metric: str
    images: Tensor
    latent: Latent
    video: VideoFromComponents

    @property
    def best(self) -> Candidate:
        """The candidate whose frames are kept."""
        return self.candidates[0]

    @property
    def shown(self) -> list[dict[str, Any]]:
        """Seeds and scores as plain data for the front end, best first."""
        return [{"seed": c.seed, **self._shown_score(c)} for c in self.candidates]

    def _shown_score(self, candidate: Candidate) -> dict[str, Any]:
        shown = shown_score(candidate.score)
        if self.metric == AGREEMENT and math.isfinite(candidate.value):
            shown["measures"][AGREEMENT] = candidate.value  # not a measure of the video alone
        return shown

    @property
    def report(self) -> str:
        """One line per candidate, best first."""
        lines = [
            f"seed {c.seed}: {self.metric} {c.value:.4g}, "
            f"defects: {', '.join(find_defects(c.score)) or 'none'}"
            for c in self.candidates
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
    agreement_model: str = BUILT_IN_AGREEMENT,
) -> RankedCandidates:
    """Sample one video per seed until one without defects reaches the threshold.

    Args:
        model: see `sample_video`, as are `positive`, `settings` and `negative`.
        positive: conditioning of the prompt.
        vae: decodes the videos.
        settings: size, length and steps.
        seeds: tried in this order.
        negative: for teachers only.
        metric: one of `METRICS`.
        threshold: value of the metric to stop at; 0 tries all seeds.
        dover: name of DOVER's weights, or `NO_DOVER`.
        agreement_model: for metric agreement, see `agreement.load`.

    Raises:
        InputError: the metric needs DOVER's weights or the text of the prompt, or an input is
            invalid; names the input.
    """
    check_vae(vae)  # fail before minutes of sampling
    metric = _metric(metric, dover)
    rate = rating(dover)
    measure = _measure(metric, positive, agreement_model)
    candidates: list[Candidate] = []
    for index, seed in enumerate(seeds, start=1):
        send_progress_text(f"seed {seed} ({index}/{len(seeds)})")  # in every language
        latent = sample_video(model, positive, settings, seed, negative=negative)
        images = decode(vae, latent)
        score = rate(images, settings.fps)
        candidate = Candidate(seed, score, measure(score, images), sheet_row(images))
        if all(candidate.rank > earlier.rank for earlier in candidates):
            best = images, latent
        candidates.append(candidate)
        if threshold > 0 and candidate.value >= threshold and not find_defects(score):
            break
    candidates.sort(key=lambda candidate: candidate.rank, reverse=True)
    send_progress_text(f"seed {candidates[0].seed}")
    images, latent = best
    (video,) = videos_of(images, latent, settings.fps)
    return RankedCandidates(candidates, metric, images, latent, video)


def _measure(
    metric: str, positive: Conditioning, agreement_model: str
) -> Callable[[Score, Tensor], float]:
    """Return a function (Score, IMAGE) -> value of the metric."""
    if metric != AGREEMENT:
        return lambda score, images: number(score, metric)
    encoded = positive[0][1].get(PROMPT_KEY)
    if encoded is None:
        raise InputError(
            "input positive: got a CONDITIONING without the text of its prompt, which metric "
            "agreement compares with the videos: connect Encode Prompt, or choose another metric"
        )
    if is_import_name(agreement_model):  # a workflow must not run code
        raise InputError(
            f"input agreement_model: got {agreement_model!r}, expected nano-agreement, a folder, "
            "or the id of a downloaded CLIP-class model"
        )
    with naming("agreement_model"):
        load_text_video(agreement_model)
    agreement = agreement_with(encoded.prompt, agreement_model)

    def measure(score: Score, images: Tensor) -> float:
        frames = (255 * images[..., :3]).round().clamp(0, 255).byte()
        return agreement(frames.cpu().numpy())

    return measure


def _metric(metric: str, dover: str) -> str:
    if metric == "auto":
        return "motion_smoothness" if dover == NO_DOVER else "overall"
    if metric in LEARNED and dover == NO_DOVER:
        raise InputError(
            f"input dover: got none, but {metric} is measured by DOVER: choose its weights, or "
            "metric motion_smoothness"
        )
    return metric
