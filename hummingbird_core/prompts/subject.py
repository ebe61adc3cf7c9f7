"""What a prompt is about, and whether a rewritten prompt is still about it.

There is no grammar here, only word lists, so both answers err on the safe side: a verb is taken as
part of the subject ("fox runs"), and "mice" is not known to be mouse. A false alarm costs one more
question to the language model; a lost subject would cost the video.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from .words import APOSTROPHES, CLAUSE_ENDS, DASHES, SENTENCE_ENDS, WORD, word_set

FRAMING = re.compile(  # "a video of", "close-up of": how it is shown, not what
    r"^\W*(?:(?:an?|the|some)\s+)?(?:[\w-]+\s+){0,2}?"
    r"(?:videos?|clips?|shots?|footage|scenes?|views?|close-?ups?|pictures?|images?|animations?)"
    r"\s+of\s+",
    re.IGNORECASE,
)
# What stands between the words of a subject, and what ends it.
FILLERS = word_set("a an the of and or some one this my your his her its their our")
ENDINGS = word_set(
    "in on at by with from to into onto over under through across along around behind beside "
    "between near against during before after inside outside above below toward towards for up "
    "down off out is are was were be being been has have had that which who whose while as when "
    "where"
)
PHRASE_END = re.compile(rf"[(){CLAUSE_ENDS}{SENTENCE_ENDS}]|\s[{DASHES}]\s")
SUFFIXES = ("ing", "ies", "ed", "es", "s")
SHORTEST_STEM = 3
LONGEST_NOUN = 6  # letters of a word in -ing that is more likely a noun: ring, spring, string


def subject_words(prompt: str) -> list[str]:
    """The words of the noun phrase that an English prompt opens with, in lower case.

    `"a video of two old dogs playing in the park"` gives `["two", "old", "dogs"]`.
    """
    text = FRAMING.sub("", prompt.lower(), count=1)
    first_phrase = next((p for p in PHRASE_END.split(text) if WORD.search(p)), "")
    words: list[str] = []
    for word in WORD.findall(first_phrase):
        if words and (word in ENDINGS or _is_participle(word)):
            break
        if word not in FILLERS and word not in ENDINGS:
            words.append(word)
    return words


def lost_words(words: Iterable[str], text: str) -> list[str]:
    """Those of `words` that are in `text` in no form (dog, dogs; run, running)."""
    present = {_stem(word) for word in WORD.findall(text.lower())}
    return [word for word in words if _stem(word) not in present]


def _is_participle(word: str) -> bool:
    return word.endswith("ing") and len(word) > LONGEST_NOUN


def _stem(word: str) -> str:
    """The word without the endings of plural and verb; not a word, only good for comparing."""
    word = re.sub(rf"[{APOSTROPHES}]s?$", "", word)
    for suffix in SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= SHORTEST_STEM:
            word = word.removesuffix(suffix) + ("y" if suffix == "ies" else "")
            break
    if len(word) > SHORTEST_STEM:
        word = word.removesuffix("e")
    return word[:-1] if len(word) > SHORTEST_STEM and word[-1] == word[-2] else word
