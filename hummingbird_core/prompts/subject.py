"""Detection of a prompt's subject, and of words that a rewritten prompt lost.

This uses word lists instead of a grammar, and errs on the safe side: a verb counts as part of the
subject ("fox runs"), as do words before it ("at night, a fox"), and "mice" does not match "mouse".
A false alarm costs one more request to the language model; a lost subject would cost the video.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from .phrases import SAID
from .text import (
    APOSTROPHES,
    CLAUSE_ENDS,
    DASHES,
    SENTENCE_ENDS,
    WORD,
    word_set,
)

FRAMING = re.compile(  # "a video of", "close-up of": the framing, not the subject
    r"^\W*(?:(?:an?|the|some)\s+)?(?:[\w-]+\s+){0,2}?"
    r"(?:videos?|clips?|shots?|footage|scenes?|views?|close-?ups?|pictures?|images?|animations?)"
    r"\s+of\s+",
    re.IGNORECASE,
)
# Words that may stand between the words of a subject, and words that end it.
ARTICLES = word_set("a an the")
FILLERS = ARTICLES | word_set("of and or some one this my your his her its their our there")
ENDINGS = word_set(
    "in on at by with from to into onto over under through across along around behind beside "
    "between near against during before after inside outside above below toward towards for up "
    "down off out beneath atop amid amidst among beyond within is are was were be being been has "
    "have had that which who whose while as when where"
)
# Words that open a clause before the subject, like all words that can end one.
LEAD_INS = ENDINGS | word_set(
    "it it's once then now today tonight meanwhile until since despite if"
)
# A clause of these words describes the look, which may be paraphrased.
LOOK = word_set(
    "cinematic cinematography photorealistic realistic hyperrealistic realism ultra super "
    "very high low best quality resolution definition hd uhd fhd hdr 2k 4k 8k 720p 1080p 4k60 "
    "60fps masterpiece award winning professional epic dramatic beautiful stunning detailed "
    "detail details highly sharp focus bokeh depth shallow grain grainy film films movie 16mm "
    "35mm 70mm imax vhs vintage retro noir fantasy dark bright soft warm cool natural "
    "lighting volumetric black white monochrome sepia color colour colors colours colorful "
    "colourful vivid vibrant photo photograph photography video footage clip scene shot shots "
    "view angle wide close closeup medium long full extreme tracking aerial macro handheld "
    "static dolly overhead pov slow motion timelapse time lapse lens camera style styled look "
    "aesthetic anime manga cartoon animation animated 3d cgi render rendered rendering pixar "
    "ghibli unreal engine octane cyberpunk steampunk watercolor watercolour oil painting "
    "sketch illustration"
)
LOOK_HEADS = word_set("style look aesthetic quality lighting shot footage hour")
PHRASE_END = re.compile(rf"[(){CLAUSE_ENDS}{SENTENCE_ENDS}]|\s[{DASHES}]\s")
WORD_ENDINGS = ("ing", "ies", "ed", "es", "s")
SHORTEST_STEM = 3
MAX_NOUN = 6  # letters; shorter words in -ing are more likely nouns: ring, spring, string


def subject_words(prompt: str) -> list[str]:
    """Return the lower-case words of the noun phrase that opens an English prompt.

    Clauses about the look before it are skipped, others are included.
    `"4k, at night, two old dogs playing in the park"` gives `["night", "two", "old", "dogs"]`.
    """
    clauses = [clause for clause in PHRASE_END.split(prompt.lower()) if WORD.search(clause)]
    words: list[str] = []
    for clause in [clause for clause in clauses if not _is_about_look(clause)] or clauses:
        text = FRAMING.sub("", clause, count=1)
        phrase = _noun_phrase(text)
        words += phrase
        if phrase and not _leads_in(text, phrase):
            break
    return words


def _noun_phrase(clause: str) -> list[str]:
    words: list[str] = []
    for word in WORD.findall(clause):
        if words and (word in ENDINGS or _is_participle(word)):
            break
        if word not in FILLERS and word not in ENDINGS:
            words.append(word)
    return words


def _is_about_look(clause: str) -> bool:
    """`cinematic`, `shot on 35mm film`, `film noir style`, `the camera pans`."""
    words, phrase = WORD.findall(clause), _noun_phrase(clause)
    if words[0] not in ARTICLES and phrase and phrase[-1] in LOOK_HEADS:
        return True
    return words[:2] == ["the", "camera"] or (LOOK | FILLERS | ENDINGS).issuperset(words)


def _leads_in(clause: str, phrase: list[str]) -> bool:
    """Return whether the subject follows: `at night`, `slowly`, `running uphill`, `a small`."""
    words = WORD.findall(clause)
    if words[0] in LEAD_INS or all(map(_is_modifier, phrase)):
        return True
    longest = 1 if ARTICLES.intersection(words) else 2  # "early morning, a fisherman"
    return sum(word not in FILLERS for word in words) <= longest


def lost_words(words: Iterable[str], text: str) -> list[str]:
    """Return those of `words` that `text` contains in no form (dog, dogs; run, running)."""
    present = {_stem(word) for word in WORD.findall(text.lower())}
    return [word for word in words if _stem(word) not in present]


def invented_words(original: str, text: str) -> list[str]:
    """Return the words about a camera or a style in `text`, where `original` names none.

    What `original` says of the same aspect may be said in other words.
    """
    said = set(WORD.findall(original.lower()))
    words = WORD.findall(text.lower())
    open_aspects = [SAID[name] for name in ("camera", "style") if not said & SAID[name]]
    return [word for word in words if any(word in aspect for aspect in open_aspects)]


def _is_participle(word: str) -> bool:
    return word.endswith("ing") and len(word) > MAX_NOUN


def _is_modifier(word: str) -> bool:
    return _is_participle(word) or word.endswith(("ed", "ly"))


def _stem(word: str) -> str:
    """Strip plural and verb endings; the result is for comparison only, not a word."""
    word = re.sub(rf"[{APOSTROPHES}]s?$", "", word)
    for suffix in WORD_ENDINGS:
        if word.endswith(suffix) and len(word) - len(suffix) >= SHORTEST_STEM:
            word = word.removesuffix(suffix) + ("y" if suffix == "ies" else "")
            break
    if len(word) > SHORTEST_STEM:
        word = word.removesuffix("e")
    return word[:-1] if len(word) > SHORTEST_STEM and word[-1] == word[-2] else word
