"""Drawn clips of one colored shape that crosses a plain background, and captions that say so."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import torch

from hummingbird_core.nano.world.captions import Mention, Said, write
from hummingbird_core.nano.world.looks import COLORS, SHAPES
from hummingbird_core.nano.world.paths import DIRECTIONS, Clip
from hummingbird_core.nano.world.scene import Scene, random_scene


def shape_clips(seed: int, clip: Clip | None = None) -> Iterator[tuple[Scene, str]]:
    """Yield an infinite stream of scenes and captions that say color, shape and direction."""
    rng = random.Random(seed)
    while True:
        shape, color, way = (rng.choice(list(values)) for values in (SHAPES, COLORS, DIRECTIONS))
        said = Said((Mention(shape, color, motion=way),))
        yield random_scene(rng, clip, said), write(said, rng)


def stated(scene: Scene) -> tuple[str, str, str]:
    """Return color, shape and direction of the only subject of a scene."""
    (subject,) = scene.subjects
    return subject.look.color or "", subject.look.name, subject.path.motion


def frames_of(scene: Scene) -> np.ndarray:
    """Return the video of a scene as uint8 frames `[T, H, W, 3]`."""
    video = (scene.render().clamp(0, 1) * 255).round().to(torch.uint8)
    return video.permute(1, 2, 3, 0).numpy()
