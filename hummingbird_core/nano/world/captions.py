"""Captions of the synthetic dataset: what a caption says, and the many ways to say it.

A `Said` holds what a caption states; `write` puts it into words. Statements that are left out are
drawn at random once a clip. Words that state nothing (the, video, moving) change nothing.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from .camera import CAMERA_MOVES
from .looks import COLORS, PICTURES, SHAPES, SUBJECTS
from .paths import MOTIONS
from .places import PLACES, TONES

OPENINGS = ("a", "the", "a video of a", "one", "")
CONNECTIONS = ("and", "while")
GOING = (
    *("moves", "moving", "slides", "sliding", "drifts", "drifting", "goes", "going"),
    *("glides", "gliding", "travels", "travelling", "floats", "floating", "flies", "flying"),
    "is moving",
)
WAYS = {
    "left": ("left", "to the left", "leftwards", "towards the left"),
    "right": ("right", "to the right", "rightwards", "towards the right"),
    "up": ("up", "upwards", "to the top", "towards the top"),
    "down": ("down", "downwards", "to the bottom", "towards the bottom"),
}
RETURNING = {
    "bob": ("bobs", "bobbing", "bobs up and down", "is bobbing", "bounces", "bouncing"),
    "swing": ("swings", "swinging", "swings from side to side", "sways", "swaying"),
    "spin": ("spins", "spinning", "spins around", "turns around", "rotates", "rotating"),
    "hover": ("hovers", "hovering", "hovers in place", "stays in place", "is hovering"),
}
CAMERA_WORDS = {
    **{
        f"pan {way}": (f"the camera pans {way}", f"camera panning {way}", f"panning {way}")
        for way in WAYS
    },
    **{
        f"zoom {way}": (f"the camera zooms {way}", f"zooming {way}", f"zoom {way}")
        for way in ("in", "out")
    },
}
TONE_WORDS = {tone: f"on a {tone} background" for tone in TONES}
SIZES = ("small", "big")
PACES = ("slowly", "quickly")
OF_SUBJECTS: dict[str, Collection[str]] = {
    "subject": SUBJECTS,
    "color": COLORS,
    "size": SIZES,
    "motion": MOTIONS,
    "pace": PACES,
}
OF_SCENES: dict[str, Collection[str]] = {"place": PLACES, "tone": TONES, "camera": CAMERA_MOVES}
# n subject, v motion, p place, c camera.
USUAL_ORDERS = ("nvpc", "pnvc", "cnvp")
UNUSUAL_ORDERS = ("npvc", "cpnv")


@dataclass(frozen=True)
class Mention:
    """The statements of a caption about one subject; None: nothing.

    Attributes:
        subject: one of `looks.SUBJECTS`.
        color: one of `looks.COLORS`, of a shape.
        size: "small" or "big".
        motion: one of `paths.MOTIONS`.
        pace: "slowly" or "quickly".
    """

    subject: str
    color: str | None = None
    size: str | None = None
    motion: str | None = None
    pace: str | None = None


@dataclass(frozen=True)
class Said:
    """The statements of a caption; None: nothing, except that a camera that is not mentioned rests.

    Attributes:
        mentions: the subjects, one or two.
        place: one of `places.PLACES`; without one the background is plain.
        tone: "dark" or "light", of a plain background.
        camera: one of `camera.CAMERA_MOVES`.
    """

    mentions: tuple[Mention, ...] = field(default=())
    place: str | None = None
    tone: str | None = None
    camera: str | None = None

    def attributes(self) -> Iterator[tuple[str, int, str]]:
        """Yield each statement: its kind, the index of its subject (0 for others), its value."""
        for index, mention in enumerate(self.mentions):
            for kind, value in asdict(mention).items():
                if value:
                    yield kind, index, value
        for kind in ("place", "tone", "camera"):
            if value := getattr(self, kind):
                yield kind, 0, value


def write(said: Said, rng: random.Random, *, unusual: bool = False) -> str:
    """Return one of many wordings.

    Args:
        said: what to say.
        rng: chooses the words.
        unusual: whether to use the orders of words that training does not see.
    """
    background = PLACES.get(said.place or "") or TONE_WORDS.get(said.tone or "", "")
    if len(said.mentions) > 1:
        return _join(_pair(said, rng, background, unusual))
    (mention,) = said.mentions
    parts = {
        "n": _noun(mention, rng),
        "v": _verb(mention, rng, unusual),
        "p": background,
        "c": rng.choice(CAMERA_WORDS[said.camera]) if said.camera else "",
    }
    return _join(parts[part] for part in rng.choice(UNUSUAL_ORDERS if unusual else USUAL_ORDERS))


def _pair(said: Said, rng: random.Random, background: str, unusual: bool) -> list[str]:
    first, second = (
        _join([_noun(mention, rng), _verb(mention, rng, unusual)]) for mention in said.mentions
    )
    parts = [first, rng.choice(CONNECTIONS), second]
    place = 1 if unusual else rng.choice((0, 3))
    return [*parts[:place], background, *parts[place:]]


def _noun(mention: Mention, rng: random.Random) -> str:
    words = (rng.choice(OPENINGS), mention.size, mention.color, mention.subject)
    return _join(word or "" for word in words)


def _verb(mention: Mention, rng: random.Random, unusual: bool) -> str:
    pace = mention.pace or ""
    if not mention.motion:
        return pace
    if mention.motion in WAYS:
        verb, way = rng.choice(GOING), rng.choice(WAYS[mention.motion])
    else:
        verb, way = rng.choice(RETURNING[mention.motion]), ""
    if unusual:
        return _join([pace, verb, way])
    return _join([verb, pace, way] if rng.random() < 0.5 else [verb, way, pace])


def _join(parts: Iterable[str]) -> str:
    return " ".join(part for part in parts if part)


def altered(said: Said, rng: random.Random) -> Said:
    """Return what a caption says with one statement changed, so that it is no longer true.

    Pairs may exchange their motions: the hardest change to notice.
    """
    statements = list(said.attributes())
    kind, index, value = rng.choice(statements)
    if kind in OF_SCENES:
        other = rng.choice([v for v in OF_SCENES[kind] if v != value])
        changed: dict[str, Any] = {kind: other}
        return replace(said, **changed)
    motions = [mention.motion for mention in said.mentions]
    if kind == "motion" and len(set(motions)) > 1 and rng.random() < 0.5:
        first, second = said.mentions
        swapped = (replace(first, motion=second.motion), replace(second, motion=first.motion))
        return replace(said, mentions=swapped)
    mentions = list(said.mentions)
    mentions[index] = _altered_mention(mentions[index], kind, rng)
    return replace(said, mentions=tuple(mentions))


def _altered_mention(mention: Mention, kind: str, rng: random.Random) -> Mention:
    value = getattr(mention, kind)
    choices = OF_SUBJECTS[kind]
    if kind == "subject":  # a shape stays a shape: pictures have no color
        choices = SHAPES if value in SHAPES else PICTURES
    return replace(mention, **{kind: rng.choice([v for v in choices if v != value])})


def vocabulary() -> list[str]:
    """Return all words of the captions, sorted."""
    phrases = [*COLORS, *SUBJECTS, *SIZES, *PACES, *PLACES.values(), *TONE_WORDS.values()]
    phrases += [*OPENINGS, *CONNECTIONS, *GOING]
    for wordings in (WAYS, RETURNING, CAMERA_WORDS):
        phrases += [phrase for choices in wordings.values() for phrase in choices]
    return sorted({word for phrase in phrases for word in phrase.split()})
