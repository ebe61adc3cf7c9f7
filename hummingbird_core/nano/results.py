"""All figures of a nano model with one number of steps: what is right, and how much varies."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..pipeline import HummingbirdPipeline
from ..video.diversity import Coverage
from .coverage import coverage_of
from .diversity import NanoDiversity, diversity_table, measure_diversity
from .evaluate import Accuracy, NanoEvaluation, accuracy_table, evaluate_nano
from .frame_rates import evaluate_frame_rates
from .words import HeardWords, measure_words
from .world.paths import NANO_FPS, Clip
from .world.stream import HeldOut


@dataclass(frozen=True)
class NanoResults:
    """Figures of one model with one number of steps.

    Attributes:
        title: of the model and its settings.
        accuracy: by what is held out.
        frame_rates: how often the speed is right, by frame rate.
        diversity: over seeds; None if it was left out.
        coverage: against the world's clips; None of few videos.
        words: whether each is heard; None if they were left out.
        seconds: of a video of `accuracy`.
    """

    title: str
    accuracy: dict[str, NanoEvaluation]
    frame_rates: dict[float, Accuracy]
    diversity: NanoDiversity | None
    coverage: Coverage | None
    words: HeardWords | None
    seconds: float

    def text(self) -> str:
        """Return the figures as Markdown."""
        rates = "; ".join(f"{fps:g}: {right}" for fps, right in self.frame_rates.items())
        parts = [self.title, accuracy_table(self.accuracy)]
        parts.append(f"speed right at frames a second: {rates}")
        if self.diversity:
            parts.append(diversity_table({self.title: self.diversity}))
        if self.coverage:
            parts.append(f"density {self.coverage.density:.2f}, {self.coverage.coverage:.2f} of ")
            parts[-1] += "the world's clips covered"
        if self.words:
            parts.append(self.words.text())
        return "\n\n".join(parts)

    def record(self) -> dict[str, Any]:
        """Return the figures for JSON."""
        record: dict[str, Any] = {name: _record(each) for name, each in self.accuracy.items()}
        record["frame_rates"] = {f"{fps:g}": r.value for fps, r in self.frame_rates.items()}
        if self.diversity:
            spread = {name: _finite(value) for name, value in self.diversity.spread.items()}
            record["diversity"] = {"distance": self.diversity.distance, "spread": spread}
        if self.coverage:
            record["coverage"] = asdict(self.coverage)
        if self.words:
            record["words"] = self.words.record()
        record["seconds_a_video"] = round(self.seconds, 3)
        return record


def measure_nano(
    pipe: HummingbirdPipeline,
    title: str,
    *,
    held_out: Sequence[HeldOut],
    prompts: int,
    seeds: int,
    words: int,
    num_frames: int,
    batch: int = 8,
    **settings,
) -> NanoResults:
    """Make and read all videos of an evaluation.

    Args:
        pipe: the model.
        title: of the model and its settings.
        held_out: kinds of prompts.
        prompts: number of prompts of each kind, and of each frame rate.
        seeds: of each prompt of the diversity; 0 leaves it out.
        words: videos of each word; 0 leaves them out.
        num_frames: length of the videos.
        batch: videos per call of the pipeline.
        **settings: arguments of the pipeline's call.
    """
    settings = {"batch": batch, **settings}
    began = time.perf_counter()
    accuracy: dict[str, NanoEvaluation] = {
        name: evaluate_nano(pipe, prompts, held_out=name, num_frames=num_frames, **settings)
        for name in held_out
    }
    seconds = (time.perf_counter() - began) / (prompts * len(accuracy))
    diversity = None
    if seeds:
        diversity = measure_diversity(pipe, seeds=seeds, num_frames=num_frames, **settings)
    readings = [seen for each in accuracy.values() for seen in each.readings]
    coverage = coverage_of(readings, Clip(num_frames, NANO_FPS)) if seeds else None
    rates = evaluate_frame_rates(pipe, prompts, **settings)
    heard = measure_words(pipe, words, num_frames=num_frames, **settings) if words else None
    return NanoResults(title, accuracy, rates, diversity, coverage, heard, seconds)


def _record(found: NanoEvaluation) -> dict[str, Any]:
    accuracies = found.accuracies
    return {
        "accuracy": {kind: accuracy.value for kind, accuracy in accuracies.items()},
        "interval": {kind: accuracy.interval for kind, accuracy in accuracies.items()},
        "videos": {kind: accuracy.total for kind, accuracy in accuracies.items()},
        "distance": _finite(found.distance),
        "farthest": [found.farthest[0], _finite(found.farthest[1])],
    }


def _finite(value: float) -> float | None:
    """Return None for the NaN of videos that show nothing, which JSON does not have."""
    return value if math.isfinite(value) else None
