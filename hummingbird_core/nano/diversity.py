"""Diversity of a nano model: how much the seed changes of what a prompt does not say.

Accuracy does not see a model that draws the same right video for every seed. For prompts that leave
things out, this compares the spread of tone, size, start and speed over seeds with that of the
world, and the distance between the videos of two seeds.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm

from ..pipeline import HummingbirdPipeline
from ..video.diversity import seed_distance
from .evaluate import SIZE
from .readers.scene import SceneReading, read_scene
from .world.captions import Mention, Said
from .world.paths import DIRECTIONS, NANO_FPS, NUM_FRAMES, Clip
from .world.scene import Scene, random_scene

OPEN_PROMPTS = {
    "a red circle moves right": Said((Mention("circle", "red", motion="right"),)),
    "a blue square drifts up": Said((Mention("square", "blue", motion="up"),)),
    "a cat moves left": Said((Mention("cat", motion="left"),)),
    "a hummingbird flies right": Said((Mention("hummingbird", motion="right"),)),
    "a fox moves down": Said((Mention("fox", motion="down"),)),
    "a mushroom slides left": Said((Mention("mushroom", motion="left"),)),
}
SEEDS = 12
WORLD_SCENES = 200  # of each prompt
VARIED = ("tone", "size", "start", "speed")
Z = 1.96  # standard errors of a 95 % interval


@dataclass(frozen=True)
class NanoDiversity:
    """Differences between the videos of one prompt.

    Attributes:
        distances: of each prompt, the mean absolute distance of the pixels of two seeds, in 0..255.
        spreads: by each of `VARIED`, of each prompt, the standard deviation over seeds against the
            world's; 1 is as much, NaN if it was read in no video.
    """

    distances: list[float]
    spreads: dict[str, list[float]]

    @property
    def distance(self) -> float:
        """Return the mean distance over the prompts."""
        return _mean_of_known(self.distances)

    @property
    def spread(self) -> dict[str, float]:
        """Return the mean spread of each over the prompts, NaN if it was read in no video."""
        return {name: _mean_of_known(values) for name, values in self.spreads.items()}

    def text(self) -> list[str]:
        """Return the distance and the spreads, each with its 95 % interval over the prompts."""
        spreads = (_with_error(self.spreads[name], 2) for name in VARIED)
        return [_with_error(self.distances, 1), *spreads]


def measure_diversity(
    pipe: HummingbirdPipeline,
    *,
    prompts: dict[str, Said] | None = None,
    seeds: int = SEEDS,
    batch: int = 8,
    **settings,
) -> NanoDiversity:
    """Make videos of several seeds of each prompt and compare their spread with the world's.

    Args:
        pipe: the model.
        prompts: prompts and what they say; `OPEN_PROMPTS` by default.
        seeds: videos of each prompt, at least 2.
        batch: videos per call of the pipeline.
        **settings: arguments of the pipeline's call.
    """
    prompts = prompts or OPEN_PROMPTS
    distances: list[float] = []
    spreads: dict[str, list[float]] = {name: [] for name in VARIED}
    for text, said in tqdm(prompts.items(), desc="seeds", leave=False):
        frames = _videos(pipe, text, seeds, batch, settings)
        distances.append(float(seed_distance(torch.from_numpy(frames)[None])))
        readings = [read_scene(video, NANO_FPS) for video in frames]
        world = _world_values(said)
        for name, values in spreads.items():
            values.append(_share(_values(readings, name), world[name]))
    return NanoDiversity(distances, spreads)


def _videos(
    pipe: HummingbirdPipeline, text: str, seeds: int, batch: int, settings: dict
) -> np.ndarray:
    """Return uint8 videos `[S, T, H, W, 3]` of one prompt."""
    settings = {"fps": NANO_FPS, **SIZE, **settings}
    parts = [
        pipe([text] * min(batch, seeds - start), seed=1000 + start, **settings).frames
        for start in range(0, seeds, batch)
    ]
    return np.concatenate(parts)


def _values(readings: Sequence[SceneReading], name: str) -> np.ndarray:
    """Return one row for each video: a number, or for the start two; NaN where nothing is read."""
    if name == "tone":
        return np.array([[reading.brightness] for reading in readings])
    rows = [[np.nan] * (2 if name == "start" else 1)] * len(readings)
    for i, reading in enumerate(readings):
        if reading.subjects:
            subject = reading.subjects[0]
            rows[i] = {
                "size": [subject.radius],
                "start": [*subject.start],
                "speed": [subject.speed if subject.motion in DIRECTIONS else np.nan],
            }[name]
    return np.array(rows)


def _world_values(said: Said) -> dict[str, np.ndarray]:
    """Return the same of scenes that are drawn for what a prompt says."""
    rng = random.Random(0)
    scenes = [random_scene(rng, Clip(NUM_FRAMES), said) for _ in range(WORLD_SCENES)]
    return {name: np.array([_drawn(scene, name) for scene in scenes]) for name in VARIED}


def _drawn(scene: Scene, name: str) -> list[float]:
    subject = scene.subjects[0]
    if name == "tone":
        return [float(np.mean(scene.background.top))]
    if name == "size":
        return [subject.radius]
    if name == "start":
        return subject.path.centers(torch.zeros(1))[:, 0].tolist()
    return [subject.path.speed if subject.path.motion in DIRECTIONS else np.nan]


def _share(values: np.ndarray, world: np.ndarray) -> float:
    """Return the standard deviation of values `[N, K]` against the world's, the mean over K.

    Rows of NaN, where nothing is read, do not count; NaN if there are no others.
    """
    known, drawn = (rows[~np.isnan(rows).any(axis=1)] for rows in (values, world))
    return float(np.mean(known.std(axis=0) / drawn.std(axis=0))) if len(known) else math.nan


def _mean_of_known(values: Sequence[float]) -> float:
    """Return the mean of the values that are not NaN; NaN if there are none."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _with_error(values: Sequence[float], digits: int) -> str:
    """Return the mean of the values that are not NaN with the half of its 95 % interval."""
    known = np.array([value for value in values if not math.isnan(value)])
    if len(known) < 2:
        return f"{_mean_of_known(values):.{digits}f}"
    half = Z * known.std(ddof=1) / math.sqrt(len(known))
    return f"{known.mean():.{digits}f} ± {half:.{digits}f}"


def diversity_table(found: dict[str, NanoDiversity]) -> str:
    """Return a Markdown table, a row for each model or setting."""
    rows = [
        f"| | distance between seeds | {' | '.join(f'spread of {name}' for name in VARIED)} |",
        "|---" * (len(VARIED) + 2) + "|",
    ]
    rows += [f"| {title} | {' | '.join(each.text())} |" for title, each in found.items()]
    return "\n".join(rows)
