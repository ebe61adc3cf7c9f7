"""Detection of prompts in other languages than English, by letters and function words."""

from __future__ import annotations

import unicodedata

from .text import WORD, word_set

ENGLISH = word_set("the of and at with are to from by through into while its")
# English words that other languages have, too: half as good as the others.
WEAK_ENGLISH = word_set("a an in on is over under")
# Function words of other languages in Latin script, without those that are also English words.
OTHERS = word_set(
    "ein eine einen einem einer der das dem und mit auf im durch über unter von zum "  # German
    "zur ist "
    "un une des les le la et dans sur avec sous du au aux est qui "  # French
    "el los las una en con por bajo sobre y de del al que es "  # Spanish
    "il lo gli uno nel nella sulla di che mentre "  # Italian
    "um uma os na nas nos da das em pela pelo com sob ao que "  # Portuguese
    "het een op met naar onder "  # Dutch
    "jest w z przez pod nad "  # Polish
    "en ett och på med som över genom "  # Swedish
    "bir ve ile"  # Turkish
)
# These begin names of places and phenomena, as in "El Niño", "La Paz", "Le Mans".
NAME_ARTICLES = word_set("el la los las le les il lo")
ACCENTED_ENGLISH = word_set(
    "café cafés façade façades fiancé fiancée naïve cliché piñata jalapeño jalapeños soufflé "
    "crème brûlée purée sauté risqué décor déjà señor señora touché entrée résumé matinée über"
)


def looks_foreign(text: str) -> bool:
    """Return whether the text is likely not English: another script, or foreign function words.

    A short prompt without function words ("zorro rojo") gives no evidence and counts as English,
    so it is rewritten without a translation. Names prove nothing ("El Niño", "São Paulo").
    """
    words = _words(text)
    has_accents = any(map(_is_accented, words - ACCENTED_ENGLISH))
    return is_surely_foreign(text) or (has_accents and _english(words) < 1)


def is_surely_foreign(text: str) -> bool:
    """Return whether most letters are of another script, or most function words are foreign."""
    letters = [letter for letter in text if letter.isalpha()]
    if 2 * sum(map(_is_latin, letters)) < len(letters):
        return True
    words = _words(text)
    return len(words & OTHERS) > _english(words)


def _english(words: frozenset[str]) -> float:
    return len(words & ENGLISH) + len(words & WEAK_ENGLISH) / 2


def _is_accented(word: str) -> bool:
    return any(_is_latin(letter) and not letter.isascii() for letter in word)


def _is_latin(letter: str) -> bool:
    return letter.isalpha() and "LATIN" in unicodedata.name(letter, "")


def _words(text: str) -> frozenset[str]:
    """Return the different words in lower case, without those of names of several words.

    A German noun is capitalized, too: only an accented word or an article of `NAME_ARTICLES` next
    to another capitalized word counts as part of a name.
    """
    words = WORD.findall(text)
    kept = []
    for index, word in enumerate(words):
        neighbors = [*words[max(0, index - 1) : index], *words[index + 1 : index + 2]]
        is_capital = word[:1].isupper() and any(other[:1].isupper() for other in neighbors)
        if not (is_capital and (not word.isascii() or word.lower() in NAME_ARTICLES)):
            kept.append(word.lower())
    return frozenset(kept)
