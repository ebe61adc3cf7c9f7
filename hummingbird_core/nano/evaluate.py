"""Accuracy of a nano model on held-out prompts (`hummingbird evaluate nano`).

Videos of held-out captions are read back by `readers.scene`, which sees all that a caption can
say. Accuracies come with 95 % Wilson intervals; beside them stands how close subjects are to their
drawings.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from tqdm import tqdm

from ..pipeline import HummingbirdPipeline
from .readers.scene import SceneReading, SubjectReading, read_scene
from .world.captions import Mention, Said
from .world.paths import FRAME_SIZE, NANO_FPS, NUM_FRAMES, Clip
from .world.stream import HeldOut, samples

EVALUATION_SEED = 2026  # seed of the held-out prompts; their videos have seeds 0, 1, 2, ...
SIZE = {"height": FRAME_SIZE, "width": FRAME_SIZE}  # whatever the size a model is trained for
JOINT, PAIRS = "joint", "pairs"


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


@dataclass
class NanoEvaluation:
    """Readings of a model's videos, and how they agree with the prompts.

    Attributes:
        checks: for each kind of statement, whether each video that should show it does. "joint" is
            all that a prompt says, "pairs" the same for prompts of two subjects alone.
        distances: by subject, the shares of its difference from the background that its drawing
            does not explain.
        flicker: mean changes of the subjects from frame to frame.
        readings: of all videos.
    """

    checks: dict[str, list[bool]] = field(default_factory=dict)
    distances: dict[str, list[float]] = field(default_factory=dict)
    flicker: list[float] = field(default_factory=list)
    readings: list[SceneReading] = field(default_factory=list)

    def add(self, said: Said, seen: SceneReading) -> None:
        """Add a video."""
        self.readings.append(seen)
        found = list(check(said, seen))
        found.append((JOINT, all(right for _, right in found)))
        if len(said.mentions) > 1:
            found.append((PAIRS, found[-1][1]))
        for kind, right in found:
            self.checks.setdefault(kind, []).append(right)
        for subject in seen.subjects:
            self.distances.setdefault(subject.look.name, []).append(subject.distance)
            self.flicker.append(subject.flicker)

    @property
    def accuracies(self) -> dict[str, Accuracy]:
        """Return the accuracy of each kind of statement."""
        return {kind: Accuracy(sum(c), len(c)) for kind, c in self.checks.items()}

    @property
    def distance(self) -> float:
        """Return the mean distance of subjects to their drawings."""
        return _mean([d for distances in self.distances.values() for d in distances])

    @property
    def farthest(self) -> tuple[str, float]:
        """Return the subject that is farthest from its drawing, and its mean distance."""
        means = {name: _mean(distances) for name, distances in self.distances.items()}
        return max(means.items(), key=lambda item: item[1], default=("", math.nan))


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def evaluate_nano(
    pipe: HummingbirdPipeline,
    count: int,
    *,
    held_out: HeldOut = "wording",
    fps: float = NANO_FPS,
    num_frames: int = NUM_FRAMES,
    batch: int = 8,
    prompt_seed: int = EVALUATION_SEED,
    **settings,
) -> NanoEvaluation:
    """Make videos of held-out prompts and read them.

    Args:
        pipe: the model.
        count: number of prompts.
        held_out: what training has not seen of them: the "wording", the "order" of words, or the
            "combination" of a subject with a motion or a place.
        fps: frame rate of the videos.
        num_frames: their length.
        batch: videos per call of the pipeline.
        prompt_seed: seed of the stream of prompts.
        **settings: arguments of the pipeline's call.
    """
    settings = {**SIZE, **settings}
    stream = samples(prompt_seed, Clip(num_frames, fps), held_out=held_out)
    wanted = [(said, text) for _, said, text in islice(stream, count)]
    evaluation = NanoEvaluation()
    for start in tqdm(range(0, count, batch), desc=held_out, unit="batch", leave=False):
        part = wanted[start : start + batch]
        prompts = [text for _, text in part]
        video = pipe(prompts, seed=start, fps=fps, num_frames=num_frames, **settings)
        for (said, _), frames in zip(part, video.frames, strict=True):
            evaluation.add(said, read_scene(frames, fps))
    return evaluation


def check(said: Said, seen: SceneReading) -> Iterator[tuple[str, bool]]:
    """Yield each kind of statement of a caption, and whether a video shows it."""
    yield "count", len(said.mentions) == len(seen.subjects)
    yield "place", seen.place == (said.place or "")
    yield "camera", seen.camera == said.camera
    if said.tone:
        yield "tone", seen.tone == said.tone
    for mention in said.mentions:
        yield from _check_subject(mention, _find(mention, said, seen))


def _find(mention: Mention, said: Said, seen: SceneReading) -> SubjectReading | None:
    """Return the reading of a subject: the only one, or of two the one that looks so."""
    if len(said.mentions) == 1:
        return seen.subjects[0] if seen.subjects else None
    return next((s for s in seen.subjects if s.look.name == mention.subject), None)


def _check_subject(mention: Mention, found: SubjectReading | None) -> Iterator[tuple[str, bool]]:
    yield "subject", found is not None and found.look.name == mention.subject
    if mention.color:
        yield "color", found is not None and found.look.color == mention.color
    for kind in ("motion", "size", "pace"):
        if wanted := getattr(mention, kind):
            yield kind, found is not None and getattr(found, kind) == wanted


def accuracy_table(found: dict[str, NanoEvaluation]) -> str:
    """Return a Markdown table of accuracies, a column for each evaluation."""
    kinds = {kind: None for each in found.values() for kind in each.checks}
    rows = [f"| right (95 % interval) | {' | '.join(found)} |", "|---" * (len(found) + 1) + "|"]
    for kind in kinds:
        values = (each.accuracies.get(kind, "-") for each in found.values())
        rows.append(f"| {kind} | {' | '.join(map(str, values))} |")
    distances = (f"{each.distance:.3f}" for each in found.values())
    farthest = (f"{value:.3f} ({name})" for name, value in (e.farthest for e in found.values()))
    flicker = (f"{_mean(each.flicker):.4f}" for each in found.values())
    rows.append(f"| distance to the drawing | {' | '.join(distances)} |")
    rows.append(f"| of the farthest subject | {' | '.join(farthest)} |")
    rows.append(f"| change of look from frame to frame | {' | '.join(flicker)} |")
    return "\n".join(rows)
