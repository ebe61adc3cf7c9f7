"""Detection of prompts in other languages than English, by letters and function words."""

from __future__ import annotations

import unicodedata

from .text import WORD, word_set

ENGLISH = word_set(
    "a an the of and in on at with is are to from by over under through into while its"
)
# Function words of other languages in Latin script, without those that are also English words.
OTHERS = word_set(
    "ein eine einen einem einer der das und mit auf im durch über unter von zum zur ist "  # German
    "un une des les le la et dans sur avec sous du au aux est qui "  # French
    "el los las una en con por bajo sobre y de del al que es "  # Spanish
    "il lo gli uno nel nella sulla di che mentre "  # Italian
    "um uma os nas nos com sob ao que "  # Portuguese
    "het een op met naar onder "  # Dutch
    "jest w z przez pod nad "  # Polish
    "en ett och på med som över genom "  # Swedish
    "bir ve ile"  # Turkish
)


def looks_foreign(text: str) -> bool:
    """Return whether the text is likely not English: another script, or foreign function words.

    A short prompt without function words ("zorro rojo") gives no evidence and counts as English,
    so it is rewritten without a translation.
    """
    has_accents = any(not letter.isascii() for letter in text if _is_latin(letter))
    return is_surely_foreign(text) or (has_accents and not _count(text, ENGLISH))


def is_surely_foreign(text: str) -> bool:
    """Return whether most letters are of another script, or most function words are foreign."""
    letters = [letter for letter in text if letter.isalpha()]
    if 2 * sum(map(_is_latin, letters)) < len(letters):
        return True
    return _count(text, OTHERS) > _count(text, ENGLISH)


def _is_latin(letter: str) -> bool:
    return letter.isalpha() and "LATIN" in unicodedata.name(letter, "")


def _count(text: str, words: frozenset[str]) -> int:
    return sum(word in words for word in WORD.findall(text.lower()))
