"""Measures whether a nano model hears each word of its captions.

Accuracies by kind of statement hide a word that is never heard among others that are. Here every
word of the vocabulary has videos of its own prompts: a word of a statement is heard if the videos
show the statement, a word that states nothing ("the", "video", "floating") if they show all the
others. Words that state nothing must also leave the video of a seed as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ..pipeline import HummingbirdPipeline
from ..video.diversity import seed_distance
from .evaluate import SIZE, Accuracy, check
from .readers.scene import read_scene
from .world.captions import (
    CAMERA_WORDS,
    CONNECTIONS,
    GOING,
    OF_SUBJECTS,
    OPENINGS,
    RETURNING,
    TONE_WORDS,
    WAYS,
    Said,
)
from .world.paths import NANO_FPS
from .world.places import PLACES
from .world.stream import samples

PROMPT_SEED = 2030
VIDEOS = 4  # of each word
HEARD = 0.75  # share of a word's videos that have to show it
FILLER_SEEDS = 4


@dataclass(frozen=True)
class HeardWords:
    """Accuracy of a model's videos by word.

    Attributes:
        accuracies: how often the videos of a word show what it states, by word.
        changes: mean distance between the videos of one seed with and without words that state
            nothing, against the distance of two seeds; by these words.
    """

    accuracies: dict[str, Accuracy]
    changes: dict[str, float]

    @property
    def unheard(self) -> list[str]:
        """Return the words that too few of their videos show."""
        return [word for word, each in self.accuracies.items() if each.value < HEARD]

    def text(self) -> str:
        """Return a line about the words and one about those that state nothing."""
        unheard = ", ".join(self.unheard) or "none"
        line = f"words not shown in {HEARD:.0%} of their videos, of {len(self.accuracies)}: "
        word, change = max(self.changes.items(), key=lambda item: item[1])
        return (
            f"{line}{unheard}\n\nwords that state nothing change a video by "
            f"{sum(self.changes.values()) / len(self.changes):.0%} of another seed, at most "
            f"{change:.0%} ({word})"
        )

    def record(self) -> dict[str, Any]:
        """Return the figures for JSON."""
        return {
            "accuracy": {word: each.value for word, each in self.accuracies.items()},
            "unheard": self.unheard,
            "changes": self.changes,
        }


def measure_words(
    pipe: HummingbirdPipeline, videos: int = VIDEOS, *, batch: int = 8, **settings
) -> HeardWords:
    """Measure all words of the vocabulary.

    Args:
        pipe: the model.
        videos: number of videos of each word that is part of a statement.
        batch: videos per call of the pipeline.
        **settings: arguments of the pipeline's call.
    """
    settings = {"fps": NANO_FPS, **SIZE, **settings}
    accuracies = word_accuracies(pipe, stated_kinds(), videos, batch, **settings)
    return HeardWords(accuracies, filler_changes(pipe, **settings))


def word_accuracies(
    pipe: HummingbirdPipeline, words: Iterable[str], videos: int, batch: int = 8, **settings
) -> dict[str, Accuracy]:
    """Return how often the videos of prompts with each word show what it states."""
    kinds = stated_kinds()
    wanted = prompts_of_words(words, videos)
    prompts = list({text: said for found in wanted.values() for said, text in found}.items())
    right: dict[str, dict[str, bool]] = {}  # by prompt, each kind of statement
    for start in tqdm(range(0, len(prompts), batch), desc="words", unit="batch", leave=False):
        part = prompts[start : start + batch]
        frames = pipe([text for text, _ in part], seed=start, **settings).frames
        for (text, said), video in zip(part, frames, strict=True):
            right[text] = dict(check(said, read_scene(video, NANO_FPS)))
    return {
        word: _accuracy([right[text] for _, text in found], kinds[word])
        for word, found in wanted.items()
    }


def _accuracy(videos: list[dict[str, bool]], kinds: set[str]) -> Accuracy:
    shown = [all(right.get(kind, True) for kind in kinds) for right in videos]
    return Accuracy(sum(shown), len(shown))


def stated_kinds() -> dict[str, set[str]]:
    """Return the kinds of statements that each word is part of; words of none are left out."""
    kinds: dict[str, set[str]] = {}
    for kind, phrases in _phrases():
        for word in set(" ".join(phrases).split()).difference(OPENINGS, CONNECTIONS):
            kinds.setdefault(word, set()).add(kind)
    return dict(sorted(kinds.items()))


def _phrases() -> Iterator[tuple[str, Iterable[str]]]:
    """Yield each kind of statement with its wordings."""
    yield from ((kind, values) for kind, values in OF_SUBJECTS.items() if kind != "motion")
    yield from (("motion", phrases) for ways in (WAYS, RETURNING) for phrases in ways.values())
    yield from (("camera", phrases) for phrases in CAMERA_WORDS.values())
    yield "place", PLACES.values()
    yield "tone", TONE_WORDS.values()


def prompts_of_words(words: Iterable[str], count: int) -> dict[str, list[tuple[Said, str]]]:
    """Return held-out prompts about one subject with each of some words."""
    prompts: dict[str, list[tuple[Said, str]]] = {word: [] for word in words}
    missing = set(prompts)
    for _, said, text in samples(PROMPT_SEED, held_out="wording"):
        if len(said.mentions) > 1:
            continue
        for word in missing.intersection(text.split()):
            prompts[word].append((said, text))
        missing = {word for word in missing if len(prompts[word]) < count}
        if not missing:
            break
    return prompts


def filler_changes(pipe: HummingbirdPipeline, **settings) -> dict[str, float]:
    """Return how much words that state nothing change a video, by wording.

    Args:
        pipe: the model.
        **settings: arguments of the pipeline's call.

    Returns:
        Mean distances between videos of the same seed, against that of two seeds.
    """
    changes = {}
    for plain, wordings in _fillers():
        usual = _seeds(pipe, plain, settings)
        another_seed = float(seed_distance(usual[None]))
        for filler, text in wordings.items():
            change = (_seeds(pipe, text, settings) - usual).abs().mean().item()
            changes[filler] = change / max(another_seed, 1e-12)
    return changes


def _fillers() -> Iterator[tuple[str, dict[str, str]]]:
    """Yield prompts, each with others that differ in words that state nothing."""
    openings = {opening: f"{opening} red circle moves right" for opening in OPENINGS if opening}
    yield "red circle moves right", openings
    yield "a red circle moves right", {go: f"a red circle {go} right" for go in GOING[1:]}
    pair = "a red circle moves right {} a blue square moves left"
    first, *others = CONNECTIONS
    yield pair.format(first), {other: pair.format(other) for other in others}


def _seeds(pipe: HummingbirdPipeline, text: str, settings: dict) -> Tensor:
    """Return videos of several seeds of a prompt, `[S, T, H, W, 3]` in 0..255."""
    return torch.from_numpy(pipe([text] * FILLER_SEEDS, seed=0, **settings).frames).float()
