"""Accuracy of a nano model on held-out prompts (`hummingbird evaluate nano`).

Videos of held-out captions are read back by `readers.shapes` and `readers.images`. Accuracies come
with 95 % Wilson intervals.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import numpy as np
from tqdm import tqdm

from ..pipeline import HummingbirdPipeline
from .readers.images import ImageReading, read_image_scene
from .readers.shapes import ShapeReading, read_shape_scene
from .world.images import random_image
from .world.shapes import random_shape
from .world.world import DrawScene, samples

EVALUATION_SEED = 2026  # seed of the held-out prompts; their videos have seeds 0, 1, 2, ...


@dataclass(frozen=True)
class Subjects:
    """A half of the synthetic dataset, with the reader of its videos."""

    draw: DrawScene
    read: Callable[[np.ndarray], ShapeReading | ImageReading]
    aspects: tuple[str, ...]


SUBJECTS = {
    "shapes": Subjects(random_shape, read_shape_scene, ("colour", "shape", "direction")),
    "pictures": Subjects(random_image, read_image_scene, ("picture", "direction", "place")),
}


@dataclass(frozen=True)
class Accuracy:
    """Number of correct videos out of `total`."""

    right: int
    total: int

    @property
    def value(self) -> float:
        """Return the accuracy, 0..1."""
        return self.right / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """Return the 95 % interval of Wilson (1927), which is valid near 100 % too."""
        z, n, p = 1.96, self.total, self.value
        center = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, center - half), min(1.0, center + half)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.1%} ({low:.1%} to {high:.1%})"


def evaluate_nano(
    pipe: HummingbirdPipeline,
    subjects: str,
    count: int,
    *,
    batch: int = 8,
    prompt_seed: int = EVALUATION_SEED,
    **settings,
) -> dict[str, Accuracy]:
    """Return the accuracy of every aspect, and of all at once ("joint"), on held-out prompts.

    Args:
        pipe: the model.
        subjects: "shapes" or "pictures".
        count: number of prompts.
        batch: videos per call of the pipeline.
        prompt_seed: seed of the stream of prompts.
        **settings: arguments of the pipeline's call.
    """
    half = SUBJECTS[subjects]
    wanted = list(islice(samples(prompt_seed, half.draw, held_out=True), count))
    right = dict.fromkeys((*half.aspects, "joint"), 0)
    for start in tqdm(range(0, count, batch), desc=subjects, unit="batch", leave=False):
        part = wanted[start : start + batch]
        video = pipe([text for _, text in part], seed=start, **settings)
        for (scene, _), frames in zip(part, video.frames, strict=True):
            for aspect, ok in _check(half, scene.attributes, frames).items():
                right[aspect] += ok
    return {aspect: Accuracy(n, count) for aspect, n in right.items()}


def _check(half: Subjects, wanted: dict[str, str], frames: np.ndarray) -> dict[str, bool]:
    seen = half.read(frames)
    checks = {name: getattr(seen, name) == wanted.get(name, "") for name in half.aspects}
    return {**checks, "joint": all(checks.values())}


def accuracy_table(found: dict[str, dict[str, Accuracy]]) -> str:
    """Return a Markdown table of accuracies by subject and aspect."""
    rows = ["| | aspect | right (95 % interval) |", "|---|---|---|"]
    for name, accuracies in found.items():
        rows += [f"| {name} | {aspect} | {value} |" for aspect, value in accuracies.items()]
    return "\n".join(rows)
