"""The built-in enhancer: adds motion, camera, light, style and detail to a prompt without a model.

The user's words stay unchanged at the beginning. Aspects that they cover are not repeated, and
words that the video model does not know are not used, so nothing is added for the built-in model,
which only knows moving shapes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from ..text.tokenizer import Tokenizer
from . import phrases
from .enhancer import EnhancedPrompt, Enhancer, check_request
from .language import looks_foreign
from .subject import lost_words
from .text import WORD, fit_window, strip_end, window_size

FOREIGN = "The built-in expander does not translate, and the text encoder was trained on English."
NOTHING_ADDED = "Nothing was added: {reason}."


class BuiltinEnhancer(Enhancer):
    """A deterministic, immediate enhancer without any download; it writes English only.

    Args:
        tokenizer: tokenizer of the video model.
    """

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer

    def enhance(self, prompt: str, seed: int = 0) -> EnhancedPrompt:
        """Return the prompt with phrases chosen by the seed for the aspects it leaves open."""
        line = check_request(prompt, seed)
        base = fit_window(strip_end(line) or line, self._tokenizer)
        # The seed includes the prompt, so that prompts of a batch get different phrases.
        additions = _choose(base.text, random.Random(f"{seed} {line}"))
        text = base.text if base.cut_off else self._add(base.text, additions)
        return EnhancedPrompt(
            text=text,
            original=prompt,
            source="builtin",
            model=None,
            seed=seed,
            tokens=self._tokenizer.count(text),
            room=window_size(self._tokenizer),
            cut_off=base.cut_off,
            notes=tuple(self._notes(line, additions, is_unchanged=text == base.text)),
        )

    def _add(self, text: str, additions: Sequence[str]) -> str:
        for phrase in additions:
            longer = f"{text}, {phrase}"
            fits = self._tokenizer.count(longer) <= window_size(self._tokenizer)
            if fits and not self._is_unknown(phrase):
                text = longer
        return text

    def _is_unknown(self, phrase: str) -> bool:
        return bool(self._tokenizer.unknown_words(self._tokenizer.clean(phrase)))

    def _notes(self, prompt: str, additions: Sequence[str], is_unchanged: bool) -> Iterator[str]:
        if looks_foreign(prompt):
            yield FOREIGN
        if not is_unchanged:
            return
        if not additions:
            yield NOTHING_ADDED.format(reason="the prompt says everything already")
        elif all(map(self._is_unknown, additions)):
            yield NOTHING_ADDED.format(reason="the video model knows none of the words")
        else:
            yield NOTHING_ADDED.format(reason="the prompt fills the text window")


def _choose(prompt: str, rng: random.Random) -> list[str]:
    """Choose a phrase for each aspect that the prompt leaves open, the most useful first."""
    choices = {
        "motion": _motions(prompt),
        "camera": phrases.CAMERA,
        "light": _lights(prompt),
        "style": phrases.STYLE,
        "detail": phrases.DETAIL,
    }
    # Drawn for every aspect, so that a word about one aspect does not change the others.
    chosen = {aspect: rng.choice(options) for aspect, options in choices.items()}
    return [phrase for aspect, phrase in chosen.items() if not _says(prompt, phrases.SAID[aspect])]


def _motions(prompt: str) -> Sequence[str]:
    kind = _kind(prompt)
    names_motion = any(word.endswith("ing") for word in WORD.findall(prompt))
    return phrases.SMOOTH_MOTION if kind is None or names_motion else phrases.MOTION[kind]


def _lights(prompt: str) -> Sequence[str]:
    outdoors = _kind(prompt) in phrases.OUTDOOR_KINDS
    return phrases.LIGHT + phrases.OUTDOOR_LIGHT if outdoors else phrases.LIGHT


def _kind(prompt: str) -> str | None:
    """Return the kind of the prompt's first word that is in a list of KINDS, or None."""
    words = WORD.findall(prompt)
    found = (kind for word in words for kind, names in phrases.KINDS.items() if _says(word, names))
    return next(found, None)


def _says(text: str, keywords: frozenset[str]) -> bool:
    """Return whether the text contains one of the keywords in any form."""
    return len(lost_words(keywords, text)) < len(keywords)
