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
    letters = [letter for letter in text if letter.isalpha()]
    latin = [letter for letter in letters if "LATIN" in unicodedata.name(letter, "")]
    if len(latin) * 2 < len(letters):
        return True
    words = WORD.findall(text.lower())
    english = sum(word in ENGLISH for word in words)
    others = sum(word in OTHERS for word in words)
    has_accents = any(not letter.isascii() for letter in latin)
    return others > english or (has_accents and not english)
