"""Captions from frames by the contrastive model of the built-in world, for `curate --describe`.

Door 3, a function: of all captions that can be put together, statement by statement, the one that
agrees most with the frames. The model has seen clean clips of this world, and their captions. The
camera is never named: captions for training may not.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from hummingbird_core.agreement.base import unit_vector
from hummingbird_core.agreement.load import load_text_video
from hummingbird_core.nano.world.captions import Mention, Said, write
from hummingbird_core.nano.world.looks import COLORS, PICTURES, SHAPES
from hummingbird_core.nano.world.paths import MOTIONS
from hummingbird_core.nano.world.places import PLACES, TONES

MODEL_VARIABLE = "CURATION_PROOF_AGREEMENT"  # the file, for the processes of an engine


def caption(frames: np.ndarray) -> dict[str, str]:
    """Return the short and the long caption of frames, uint8 `[K, H, W, 3]`."""
    model = load_text_video(os.environ[MODEL_VARIABLE])
    video = unit_vector(model.embed_video(frames))

    def agreement(said: Said) -> float:
        return float(video @ unit_vector(model.embed_text(text(said))))

    def best(choices: Iterator[Said]) -> Said:
        return max(choices, key=agreement)

    said = best(subjects())
    short = text(said)
    for add in (motions, backgrounds):
        said = best(add(said))
    return {"short": short, "long": text(said)}


def text(said: Said) -> str:
    """Return one wording of what is said, always the same."""
    return write(said, random.Random(0))


def subjects() -> Iterator[Said]:
    """Yield captions of every subject alone."""
    yield from (Said((Mention(name),)) for name in PICTURES)
    yield from (Said((Mention(shape, color),)) for shape in SHAPES for color in COLORS)


def motions(said: Said) -> Iterator[Said]:
    """Yield a caption with every motion of its subject."""
    (mention,) = said.mentions
    yield from (replace(said, mentions=(replace(mention, motion=motion),)) for motion in MOTIONS)


def backgrounds(said: Said) -> Iterator[Said]:
    """Yield a caption with every background."""
    yield from (replace(said, place=place) for place in PLACES)
    yield from (replace(said, tone=tone) for tone in TONES)
