"""Density and coverage of a nano model's videos: is all that the world shows also made?

Counted in the space of what `readers.scene` sees, which no reward uses: subjects, colors, motions,
places and camera moves count by kind; size, position, speed and brightness by amount.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from ..video.diversity import NEIGHBORS, Coverage, density_and_coverage
from .readers.scene import SceneReading, SubjectReading, read_scene
from .world.camera import CAMERA_MOVES
from .world.looks import COLORS, SUBJECTS
from .world.paths import DIRECTIONS, FRAME_SIZE, MOTIONS, NANO_FPS, QUICKEST_SPEEDS, Clip
from .world.places import PLACES
from .world.scene import RADIUS
from .world.stream import samples

WORLD_SEED = 2028
MOST_SUBJECTS = 2
NO_SUBJECT = -1.0  # far from every subject
SUBJECT_WIDTH = len(SUBJECTS) + len(COLORS) + len(MOTIONS) + 4


def coverage_of(readings: Sequence[SceneReading], clip: Clip | None = None) -> Coverage | None:
    """Compare readings of a model's videos with as many drawn clips; None for too few readings.

    Args:
        readings: of videos for captions drawn like the world's.
        clip: length and frame rate of the videos.
    """
    if len(readings) <= NEIGHBORS:
        return None
    world = drawn_readings(WORLD_SEED, len(readings), clip)
    return density_and_coverage(features(world), features(readings))


def drawn_readings(seed: int, count: int, clip: Clip | None = None) -> list[SceneReading]:
    """Draw clips of the world, and read them."""
    fps = clip.fps if clip else NANO_FPS
    scenes = (scene for scene, _, _ in islice(samples(seed, clip), count))
    return [read_scene(_frames(scene.render()), fps) for scene in scenes]


def _frames(video: Tensor) -> np.ndarray:
    """Return uint8 frames `[T, H, W, 3]` of a video `[3, T, H, W]` in 0..1."""
    return (video.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 3, 0).numpy()


def features(readings: Sequence[SceneReading]) -> Tensor:
    """Return a row for each video, `[N, D]`."""
    return torch.tensor([_row(seen) for seen in readings])


def _row(seen: SceneReading) -> list[float]:
    # The subject furthest left first, so that the order of a pair does not count.
    subjects = sorted(seen.subjects, key=lambda subject: subject.start)[:MOST_SUBJECTS]
    rows = [_subject_row(subject) for subject in subjects]
    rows += [[NO_SUBJECT] * SUBJECT_WIDTH] * (MOST_SUBJECTS - len(rows))
    scene = [*_one_hot(seen.place, PLACES), *_one_hot(seen.camera, CAMERA_MOVES)]
    return [seen.brightness, *scene, *(value for row in rows for value in row)]


def _subject_row(subject: SubjectReading) -> list[float]:
    look = subject.look
    is_across = subject.motion in DIRECTIONS
    return [
        *_one_hot(look.name, SUBJECTS),
        *_one_hot(look.color, COLORS),
        *_one_hot(subject.motion, MOTIONS),
        (subject.radius - RADIUS[0]) / (RADIUS[1] - RADIUS[0]),
        *(value / FRAME_SIZE for value in subject.start),
        subject.speed / QUICKEST_SPEEDS[1] if is_across else subject.speed,
    ]


def _one_hot(value: str | None, names: Iterable[str]) -> list[float]:
    return [float(value == name) for name in names]
