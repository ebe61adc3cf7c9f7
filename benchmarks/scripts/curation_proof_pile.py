"""The pile of clips of the proof: clips of the built-in world, half of them spoilt in known ways.

What is spoilt stands in `truth.jsonl`, outside of the folder that curation sees.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from tqdm import tqdm

from hummingbird_core.files import atomic_write
from hummingbird_core.nano.world.captions import Said
from hummingbird_core.nano.world.paths import NANO_FPS
from hummingbird_core.nano.world.stream import samples
from hummingbird_core.video import write_video

CLEAN, STARVED = ("-crf", "12"), ("-crf", "47")  # of x264: hardly a loss, and a bit rate that blurs
TRUTH = "truth.jsonl"
PILE_SEED = 1000
RAMBLING = (
    "hello everyone and welcome back to my channel today I want to show you something that I have "
    "been waiting for all week {} so stay until the end and tell me what you think of it and do "
    "not forget to subscribe"
)
OTHER_WORDS = {
    "red": "crimson",
    "yellow": "golden",
    "green": "emerald",
    "cyan": "turquoise",
    "blue": "azure",
    "magenta": "fuchsia",
    "circle": "disc",
    "square": "box",
    "triangle": "wedge",
    "hummingbird": "colibri",
    "cat": "kitten",
    "fox": "vixen",
    "panda": "bear",
    "frog": "toad",
    "fish": "carp",
    "rocket": "spaceship",
    "car": "automobile",
    "mushroom": "toadstool",
    "octopus": "squid",
    "left": "westwards",
    "right": "eastwards",
    "up": "skywards",
    "down": "groundwards",
    "bob": "hopping",
    "swing": "wobbling",
    "spin": "whirling",
    "hover": "resting",
}


@dataclass(frozen=True)
class PileClip:
    """A clip of the pile and all that is known about it.

    Attributes:
        name: of its file.
        kind: how it is spoilt, "" for a clean one.
        caption: as curation gets it.
        true_caption: what it shows; of a cut or dissolve, its first scene.
    """

    name: str
    kind: str
    caption: str
    true_caption: str


@dataclass(frozen=True)
class Drawn:
    """A drawn scene: frames uint8 `[T, H, W, 3]`, the caption, and what it says."""

    frames: np.ndarray
    caption: str
    said: Said


Spoil = Callable[[np.ndarray, Drawn, random.Random], np.ndarray]


def draw(number: int) -> Drawn:
    """Return the clean clip of a number."""
    scene, said, caption = next(samples(PILE_SEED + number))
    video = (scene.render() * 255).round().byte()  # [3, T, H, W]
    return Drawn(video.permute(1, 2, 3, 0).numpy(), caption, said)


def make_pile(folder: Path, size: int) -> list[PileClip]:
    """Write the clips that are missing and return all of them.

    Args:
        folder: gets `videos/` and TRUTH.
        size: number of clips; every second one is spoilt, in each way equally often.
    """
    clips = [describe(number) for number in range(size)]
    for number, clip in enumerate(tqdm(clips, desc="pile", unit="clip", disable=None)):
        path = folder / "videos" / clip.name
        if not path.is_file():
            encoder = STARVED if clip.kind == "low bitrate" else CLEAN
            write_video(path, frames_of(number), NANO_FPS, encoder=encoder)
        path.with_suffix(".txt").write_text(clip.caption, encoding="utf-8")
    with atomic_write(folder / TRUTH) as temporary:
        lines = (json.dumps(asdict(clip)) + "\n" for clip in clips)
        temporary.write_text("".join(lines), encoding="utf-8")
    return clips


def kind_of(number: int) -> str:
    """Return how a clip is spoilt, "" for a clean one."""
    return KINDS[number // 2 % len(KINDS)] if number % 2 else ""


def describe(number: int) -> PileClip:
    """Return what is known about a clip."""
    kind, rng = kind_of(number), random.Random(f"caption {number}")
    drawn = draw(_drawn_number(number))
    captions = {
        "wrong caption": lambda: _other_caption(number, drawn),
        "empty caption": lambda: "",
        "rambling caption": lambda: RAMBLING.format(drawn.caption),
        "other words": lambda: in_other_words(drawn.said, rng),
    }
    caption = captions.get(kind, lambda: drawn.caption)()
    return PileClip(f"{number:06d}.mp4", kind, caption, drawn.caption)


def frames_of(number: int) -> np.ndarray:
    """Return the frames of a clip, uint8 `[T, H, W, 3]`."""
    kind, rng = kind_of(number), random.Random(f"frames {number}")
    drawn = draw(_drawn_number(number))
    if kind not in SPOIL:
        return drawn.frames
    return SPOIL[kind](drawn.frames, draw(number + 1), rng)


def _drawn_number(number: int) -> int:
    """Return which scene a clip shows: a near-duplicate that of the clean clip before it."""
    return number - 1 if kind_of(number) == "near-duplicate" else number


def _other_caption(number: int, drawn: Drawn) -> str:
    """Return a caption of another scene that says something else of the subject."""
    own = {mention.subject for mention in drawn.said.mentions}
    others = (draw(PILE_SEED * 1000 + number + step) for step in count(step=7919))
    return next(o.caption for o in others if not own & {m.subject for m in o.said.mentions})


def in_other_words(said: Said, rng: random.Random) -> str:
    """Return what a caption says in words that no caption of the world has."""
    mention = said.mentions[0]
    words = (mention.color, mention.subject, mention.motion)
    said_words = [OTHER_WORDS[word] for word in words if word]
    return " ".join([rng.choice(["some", "this", "our"]), *said_words])


def _blur(frames: np.ndarray, other: Drawn, rng: random.Random) -> np.ndarray:
    blur = ImageFilter.GaussianBlur(rng.uniform(1.5, 3.0))
    return np.stack([np.asarray(Image.fromarray(frame).filter(blur)) for frame in frames])


def _freeze(frames: np.ndarray, other: Drawn, rng: random.Random) -> np.ndarray:
    start = rng.randrange(2, len(frames) // 2)
    return np.concatenate([frames[:start], np.repeat(frames[start : start + 1], 14, axis=0)])[
        : len(frames)
    ]


def _cut(frames: np.ndarray, other: Drawn, rng: random.Random) -> np.ndarray:
    middle = len(frames) // 2 + rng.randrange(-2, 3)
    return np.concatenate([frames[:middle], other.frames[middle:]])


def _dissolve(frames: np.ndarray, other: Drawn, rng: random.Random) -> np.ndarray:
    length, middle = rng.randrange(4, 9), len(frames) / 2
    share = np.clip((np.arange(len(frames)) - middle) / length + 0.5, 0, 1)[:, None, None, None]
    return ((1 - share) * frames + share * other.frames).round().astype(np.uint8)


def _shake(frames: np.ndarray, other: Drawn, rng: random.Random) -> np.ndarray:
    padded = np.pad(frames, ((0, 0), (5, 5), (5, 5), (0, 0)), mode="edge")
    height, width = frames.shape[1:3]
    places = [(rng.randrange(11), rng.randrange(11)) for _ in frames]
    views = zip(padded, places, strict=True)
    return np.stack([view[y : y + height, x : x + width] for view, (y, x) in views])


def _borders(frames: np.ndarray, other: Drawn, rng: random.Random) -> np.ndarray:
    barred, size = frames.copy(), rng.randrange(6, 11)
    sides = barred if rng.random() < 0.5 else barred.transpose(0, 2, 1, 3)
    sides[:, :size] = sides[:, -size:] = 0
    return barred


def _duplicate(frames: np.ndarray, other: Drawn, rng: random.Random) -> np.ndarray:
    gain = rng.uniform(0.92, 1.08)
    return np.clip(frames * gain, 0, 255).astype(np.uint8)


def _letters(frames: np.ndarray, other: Drawn, rng: random.Random) -> np.ndarray:
    text, place = rng.choice(["LIVE", "SALE", "NEWS", "@fox"]), (rng.randrange(4, 24), 46)
    images = [Image.fromarray(frame) for frame in frames]
    for image in images:
        draw_on = ImageDraw.Draw(image)
        draw_on.text(place, text, "white", font_size=14, stroke_width=1, stroke_fill="black")
    return np.stack([np.asarray(image) for image in images])


SPOIL: dict[str, Spoil] = {
    "blur": _blur,
    "frozen": _freeze,
    "cut": _cut,
    "dissolve": _dissolve,
    "shaky": _shake,
    "black borders": _borders,
    "near-duplicate": _duplicate,
    "burnt-in text": _letters,
}
KINDS = (
    *SPOIL,
    *("low bitrate", "wrong caption", "empty caption", "rambling caption", "other words"),
)
