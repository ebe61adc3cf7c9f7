"""What counts as a word and as punctuation, in any script."""

from __future__ import annotations

import re

APOSTROPHES = "'\N{RIGHT SINGLE QUOTATION MARK}"
DASHES = "-\N{EN DASH}\N{EM DASH}"
# The marks of Chinese and Japanese have no space after them, the others have.
WIDE_SENTENCE_ENDS = "。\N{FULLWIDTH EXCLAMATION MARK}\N{FULLWIDTH QUESTION MARK}"
WIDE_CLAUSE_ENDS = "、\N{FULLWIDTH COMMA}\N{FULLWIDTH SEMICOLON}\N{FULLWIDTH COLON}\N{ARABIC COMMA}"
CLAUSE_ENDS = f",;:{WIDE_CLAUSE_ENDS}"
SENTENCE_ENDS = f".!?…{WIDE_SENTENCE_ENDS}"

WORD = re.compile(rf"[^\W_]+(?:[{APOSTROPHES}][^\W_]+)?")


def word_set(text: str) -> frozenset[str]:
    """The space-separated words of a text."""
    return frozenset(text.split())


def strip_end(text: str) -> str:
    """The text without closing spaces, punctuation and dashes."""
    return text.rstrip(f" {CLAUSE_ENDS}{SENTENCE_ENDS}{DASHES}")
