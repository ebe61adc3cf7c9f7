"""Scenes of the synthetic dataset: one or two moving subjects, a background and a camera."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from torch import Tensor

from .camera import CAMERA_MOVES, Camera, random_camera
from .captions import Mention, Said
from .looks import COLORS, PICTURES, SHAPES, SUBJECTS, Look, can_spin, look_in_motion
from .paths import DIRECTIONS, FRAME_SIZE, PERIODIC, Area, Clip, Path, random_path
from .places import PLACES, TONES, Background, plain_background, random_place

# Half the side of a subject's bounding square, in pixels. All sizes of single subjects have a name:
# otherwise a caption without a size would mean the others, which guidance then draws.
SMALLEST, LARGEST = (11.5, 13.5), (16.0, 18.5)  # called small and big
RADIUS = (SMALLEST[0], LARGEST[1])
PAIR_RADIUS = (10.5, 13.0)
ZOOMED_RADIUS = 16.0  # the largest in the middle of a zoom

PAIR_SHARE = 1 / 4
PICTURE_SHARE = 2 / 3  # of the subjects: pictures are harder to learn than shapes
PLAIN_SHARE = {"shape": 0.6, "picture": 0.35}
ACROSS_SHARE = 0.25  # of the motions; the others are drawn from all motions
CAMERA_SHARE = 0.5  # of the scenes with a place
# How often captions say what they may leave out.
SAID = {"color": 0.85, "motion": 0.88, "size": 0.42, "pace": 0.5, "tone": 0.4}


@dataclass(frozen=True)
class Subject:
    """A look on a path.

    Attributes:
        look: what it looks like.
        path: where it is.
        radius: half the side of its bounding square, in pixels, in the middle of the clip.
    """

    look: Look
    path: Path
    radius: float

    @property
    def size(self) -> str | None:
        """Return "small", "big", or None where a zoom leaves no room for either."""
        if self.radius <= SMALLEST[1]:
            return "small"
        return "big" if self.radius >= LARGEST[0] else None


@dataclass(frozen=True)
class Scene:
    """One or two subjects over a background, seen by a camera."""

    subjects: tuple[Subject, ...]
    background: Background
    clip: Clip
    place: str | None = None
    tone: str | None = None
    camera: Camera = field(default_factory=Camera)

    def render(self) -> Tensor:
        """Return float video `[3, T, FRAME_SIZE, FRAME_SIZE]` in 0..1."""
        seconds = self.clip.seconds
        video = self.background.draw(self.camera, seconds)
        for subject in self.subjects:
            path, radii = subject.path, subject.radius * self.camera.scales(seconds)
            drawn = subject.look.draw(path.centers(seconds), path.angles(seconds), radii)
            video = drawn[:3] + (1 - drawn[3:]) * video
        return video

    def describe(self) -> Said:
        """Return all that a caption can say of the scene."""
        mentions = tuple(
            Mention(s.look.name, s.look.color, s.size, s.path.motion, s.path.pace)
            for s in self.subjects
        )
        return Said(mentions, self.place, self.tone, self.camera.move)


def random_scene(rng: random.Random, clip: Clip | None = None, said: Said | None = None) -> Scene:
    """Return a scene; what is not said is drawn.

    Args:
        rng: source of random numbers.
        clip: number of frames, frame rate, and whether it loops.
        said: what is fixed: subjects, colors, motions, place, tone and camera. Sizes and paces are
            always drawn.
    """
    clip = clip or Clip()
    said = said or random_subjects(rng, clip)
    place, tone = said.place, said.tone
    if not place and not tone:
        tone = rng.choice(list(TONES))
    background = random_place(rng, place) if place else plain_background(rng, tone or "dark")
    camera = random_camera(rng, said.camera, clip)
    areas = [Area()] if len(said.mentions) == 1 else _halves(rng, said.mentions)
    subjects = tuple(
        _random_subject(rng, mention, clip, area, camera, len(said.mentions) > 1)
        for mention, area in zip(said.mentions, areas, strict=True)
    )
    return Scene(subjects, background, clip, place, None if place else tone, camera)


def random_subjects(rng: random.Random, clip: Clip) -> Said:
    """Draw subjects with motions, place and camera of a scene."""
    count = 2 if rng.random() < PAIR_SHARE else 1
    is_picture = rng.random() < PICTURE_SHARE
    first = _random_mention(rng, clip, PICTURES if is_picture else SHAPES)
    mentions = [first]
    while len(mentions) < count:
        other = _random_mention(rng, clip, SUBJECTS)
        # Of one picture, or of shapes of one color, one could not say which is which.
        if other.subject != first.subject and (not other.color or other.color != first.color):
            mentions.append(_beside(rng, other, first))
    plain = rng.random() < PLAIN_SHARE["picture" if is_picture else "shape"]
    place = None if plain else rng.choice(list(PLACES))
    moves = place and count == 1 and not clip.loop and rng.random() < CAMERA_SHARE
    return Said(tuple(mentions), place, None, rng.choice(CAMERA_MOVES) if moves else None)


def _random_mention(rng: random.Random, clip: Clip, names: Collection[str]) -> Mention:
    name = rng.choice(list(names))
    color = rng.choice(list(COLORS)) if name in SHAPES else None
    return Mention(name, color, motion=_random_motion(rng, clip, name))


def _random_motion(rng: random.Random, clip: Clip, name: str) -> str:
    """Draw a motion that a subject can have; most cross the frame, where they can."""
    across = [] if clip.loop else list(DIRECTIONS)
    motions = [*across, *(m for m in PERIODIC if m != "spin" or can_spin(name))]
    return rng.choice(across) if across and rng.random() < ACROSS_SHARE else rng.choice(motions)


def _beside(rng: random.Random, other: Mention, first: Mention) -> Mention:
    """Return the second subject of a pair, with a motion that fits beside the first one's."""
    axis = _axis(first.motion)
    if axis and _axis(other.motion) not in (axis, None):
        ways = ("left", "right") if axis == "x" else ("up", "down")
        is_across = other.motion not in PERIODIC
        motion = rng.choice(ways) if is_across else ("swing" if axis == "x" else "bob")
        return replace(other, motion=motion)
    return other


def _axis(motion: str | None) -> str | None:
    if motion in ("left", "right", "swing"):
        return "x"
    return "y" if motion in ("up", "down", "bob") else None


def _halves(rng: random.Random, mentions: tuple[Mention, ...]) -> list[Area]:
    """Return the halves of the frame, split so that each subject can move along its half."""
    axes = {_axis(mention.motion) for mention in mentions} - {None}
    axis = axes.pop() if axes else rng.choice("xy")
    low, high = (0.0, FRAME_SIZE / 2), (FRAME_SIZE / 2, float(FRAME_SIZE))
    halves = [Area(y=low), Area(y=high)] if axis == "x" else [Area(x=low), Area(x=high)]
    rng.shuffle(halves)
    return halves


def _random_subject(
    rng: random.Random, mention: Mention, clip: Clip, area: Area, camera: Camera, is_pair: bool
) -> Subject:
    motion = mention.motion or _random_motion(rng, clip, mention.subject)
    color = mention.color or (rng.choice(list(COLORS)) if mention.subject in SHAPES else None)
    if is_pair:
        radius = rng.uniform(*PAIR_RADIUS)
    else:
        radius = rng.uniform(*rng.choice((SMALLEST, LARGEST)))
        radius = min(radius, ZOOMED_RADIUS) if camera.largest_scale > 1 else radius
    path = random_path(rng, motion, clip, radius * camera.largest_scale, area)
    return Subject(look_in_motion(mention.subject, color, motion), path, radius)


def say(scene: Scene, rng: random.Random) -> Said:
    """Choose what a caption says of a scene; the rest is left for the model to draw."""
    known = scene.describe()
    if len(known.mentions) == 1:
        mentions: tuple[Mention, ...] = (_say_some(known.mentions[0], rng),)
    else:  # without color and motion one could not say which is which
        mentions = tuple(replace(m, size=None, pace=None) for m in known.mentions)
    return replace(known, mentions=mentions, tone=_maybe(known.tone, "tone", rng))


def _say_some(known: Mention, rng: random.Random) -> Mention:
    motion = _maybe(known.motion, "motion", rng)
    has_pace = motion and motion != "hover"
    return replace(
        known,
        color=_maybe(known.color, "color", rng),
        size=_maybe(known.size, "size", rng),
        motion=motion,
        pace=_maybe(known.pace, "pace", rng) if has_pace else None,
    )


def _maybe(value: str | None, kind: str, rng: random.Random) -> str | None:
    return value if rng.random() < SAID[kind] else None
