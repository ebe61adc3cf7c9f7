"""Words and punctuation in any script, and fitting a text into the text window."""

from __future__ import annotations

import bisect
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..text.tokenizer import Tokenizer

APOSTROPHES = "'\N{RIGHT SINGLE QUOTATION MARK}"
DASHES = "-\N{EN DASH}\N{EM DASH}"
# Chinese and Japanese marks are not followed by a space.
WIDE_SENTENCE_ENDS = "。\N{FULLWIDTH EXCLAMATION MARK}\N{FULLWIDTH QUESTION MARK}"
WIDE_CLAUSE_ENDS = "、\N{FULLWIDTH COMMA}\N{FULLWIDTH SEMICOLON}\N{FULLWIDTH COLON}\N{ARABIC COMMA}"
CLAUSE_ENDS = f",;:{WIDE_CLAUSE_ENDS}"
SENTENCE_ENDS = f".!?…{WIDE_SENTENCE_ENDS}"

WORD = re.compile(rf"[^\W_]+(?:[{APOSTROPHES}][^\W_]+)?")


def word_set(text: str) -> frozenset[str]:
    """Return the space-separated words of a text."""
    return frozenset(text.split())


def strip_end(text: str) -> str:
    """Return the text without trailing spaces, punctuation and dashes."""
    return text.rstrip(f" {CLAUSE_ENDS}{SENTENCE_ENDS}{DASHES}")


# Minimum share of the window that must be filled to end at a border.
MIN_FILLED = 0.6
# Places to end, best first: after a sentence, after a clause, after a word, anywhere.
BORDERS = (
    rf"(?<=[.!?])(?=\s)|(?<=[{WIDE_SENTENCE_ENDS}])",
    rf"(?=[,;:]\s|\s[{DASHES}]\s)|(?=[{WIDE_CLAUSE_ENDS}])",
    r"(?=\s)",
    r"",
)
DANGLING = re.compile(
    r"(?:[\s,;:]+(?:a|an|and|as|at|by|for|from|in|into|of|on|or|over|the|to|under|while|with))+$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class FittedText:
    """A text that fits, its length in tokens, and the end that was cut off."""

    text: str
    tokens: int
    cut_off: str


def window_size(tokenizer: Tokenizer) -> int:
    """Return the capacity of the text encoder in tokens, without start and end."""
    return tokenizer.context_length - 2


def fit_window(text: str, tokenizer: Tokenizer) -> FittedText:
    """Return the longest beginning of `text` that fits and ends well.

    A sentence border is preferred to a clause border, and this to a word border, unless it would
    leave much of the window empty.
    """
    end = _best_end(text, tokenizer)
    kept = text[:end].rstrip()
    if end < len(text):
        kept = DANGLING.sub("", kept).rstrip(f" {CLAUSE_ENDS}{DASHES}")
    return FittedText(kept, tokenizer.count(kept), text[len(kept) :].strip(f" {CLAUSE_ENDS}"))


def _best_end(text: str, tokenizer: Tokenizer) -> int:
    room = window_size(tokenizer)
    if tokenizer.count(text) <= room:
        return len(text)
    end = 0
    for border in BORDERS:
        end = _last_fitting([m.start() for m in re.finditer(border, text)], text, tokenizer)
        if tokenizer.count(text[:end]) >= MIN_FILLED * room:
            break
    return end


def _last_fitting(ends: Sequence[int], text: str, tokenizer: Tokenizer) -> int:
    """Return the last of the sorted `ends` up to which the text fits, or 0."""
    room = window_size(tokenizer)
    index = bisect.bisect_right(ends, room, key=lambda end: tokenizer.count(text[:end]))
    return ends[index - 1] if index else 0
