"""Tokenizers: CLIP's byte-pair encoding, and a word list for the built-in model.

Every tokenizer lays a prompt out as OpenCLIP does: start token, at most 75 tokens, end token, then
zeros up to the context length. Text that does not fit is reported, never silently lost.
"""

from __future__ import annotations

import gzip
import html
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import CheckpointError, InputError, MissingPackageError
from ..files import ASSETS
from ..inputs.fields import Kind, ListOf, Text, check_fields
from ..inputs.json_text import parse_json
from ..terminal import get_logger

if TYPE_CHECKING:
    import tokenizers
    from torch import Tensor

logger = get_logger(__name__)

MAX_TOKENS = 77  # with start and end
PADDING_ID = 0
CLIP_MERGES = ASSETS / "clip_bpe" / "bpe_simple_vocab_16e6.txt.gz"


@dataclass(frozen=True)
class Token:
    """A piece of a cleaned prompt: its id, and the index in the text at which it begins."""

    id: int
    start: int


@dataclass(frozen=True)
class TokenizedPrompt:
    """Input of the text encoder for one prompt, and the text that it lacks."""

    ids: list[int]
    """Start, tokens, end, zeros: `context_length` ids."""
    count: int
    """Tokens of the whole prompt, also those beyond the context length, without start and end."""
    dropped: str
    """Text beyond the last token that fits; empty if everything fits."""
    unknown: list[str]
    """Words outside of the vocabulary; none with a byte-pair encoding."""
    hint: str = ""
    """A line if the prompt names nothing that the model can show: what it knows, and what to do."""


def warn_of_lost_text(prompt: TokenizedPrompt, context_length: int) -> None:
    """Log a warning for text of a prompt that the model does not see or know."""
    if prompt.dropped:
        logger.warning(
            "the prompt has %d tokens, %d fit; this had no effect: %s",
            prompt.count,
            context_length - 2,
            prompt.dropped,
        )
    if prompt.hint:
        logger.warning("%s", prompt.hint)
    if prompt.unknown:
        logger.warning("words unknown to this model: %s", ", ".join(prompt.unknown))


class Tokenizer(ABC):
    """Base class of tokenizers; a subclass defines how a prompt is cleaned and split."""

    context_length: int = MAX_TOKENS
    vocab_size: int
    start_id: int
    end_id: int

    @abstractmethod
    def clean(self, prompt: str) -> str:
        """Return the prompt in the form that the vocabulary is for."""

    @abstractmethod
    def split(self, text: str) -> list[Token]:
        """Return the tokens of a cleaned text, without start and end."""

    @abstractmethod
    def unknown_words(self, text: str) -> list[str]:
        """Return the words of a cleaned text that are not in the vocabulary."""

    def hint(self, text: str) -> str:
        """Return a line if a cleaned text names nothing that the model can show."""
        return ""

    def tokenize(self, prompt: str) -> TokenizedPrompt:
        """Return the ids of one prompt, its length and the text that does not fit.

        Raises:
            InputError: the prompt is not a str.
        """
        if not isinstance(prompt, str):
            raise InputError(f"got a prompt of type {type(prompt).__name__}: give it as a str")
        text = self.clean(prompt)
        tokens = self.split(text)
        room = self.context_length - 2
        ids = [self.start_id, *(token.id for token in tokens[:room]), self.end_id]
        ids += [PADDING_ID] * (self.context_length - len(ids))
        dropped = text[tokens[room].start :] if len(tokens) > room else ""
        hint = self.hint(text) if text else ""
        return TokenizedPrompt(ids, len(tokens), dropped, self.unknown_words(text), hint)

    def count(self, prompt: str) -> int:
        """Return the number of tokens of the whole prompt, without start and end."""
        return self.tokenize(prompt).count

    def __call__(self, prompts: Sequence[str]) -> Tensor:
        """Return the ids of several prompts, int64 `[B, context_length]`."""
        import torch  # not needed to count the tokens of a prompt

        return torch.tensor([self.tokenize(prompt).ids for prompt in prompts], dtype=torch.int64)


class ClipTokenizer(Tokenizer):
    """CLIP's byte-pair encoding (49,408 tokens), equal to `tokenize` of OpenCLIP 2.24.

    The vocabulary is the file of OpenAI's CLIP (MIT license), see `assets/clip_bpe/NOTICE.md`.

    Raises:
        MissingPackageError: `tokenizers` or `ftfy` is not installed.
    """

    start_id = 49406
    end_id = 49407
    vocab_size = 49408

    def __init__(self) -> None:
        try:
            import ftfy
            import tokenizers  # noqa: F401
        except ImportError as error:
            raise MissingPackageError(
                f"got no package {error.name!r}, which the CLIP tokenizer needs: "
                f"pip install tokenizers ftfy"
            ) from error
        self._fix_text = ftfy.fix_text
        self._bpe = _build_clip_bpe()

    def clean(self, prompt: str) -> str:
        """Repair unicode, resolve HTML entities (twice, as CLIP does), join spaces, lower case."""
        text = html.unescape(html.unescape(self._fix_text(prompt)))
        return re.sub(r"\s+", " ", text).strip().lower()

    def split(self, text: str) -> list[Token]:
        """Return byte-pair tokens."""
        encoding = self._bpe.encode(text)
        offsets = (start for start, _ in encoding.offsets)
        return [Token(*pair) for pair in zip(encoding.ids, offsets, strict=True)]

    def unknown_words(self, text: str) -> list[str]:
        """Return nothing: every byte has a token."""
        return []


def _build_clip_bpe() -> tokenizers.Tokenizer:
    """Build a BPE model of CLIP's vocabulary: bytes, bytes that end a word, merges, start, end."""
    import tokenizers
    from tokenizers import models, pre_tokenizers

    lines = gzip.decompress(CLIP_MERGES.read_bytes()).decode("utf-8").split("\n")
    specials = ["<start_of_text>", "<end_of_text>"]
    # The printable characters that encode the 256 bytes, sorted by code point: CLIP's own order.
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    # The first line is a header, and CLIP uses only as many merges as fill its 49,408 ids.
    num_merges = ClipTokenizer.vocab_size - 2 * len(letters) - len(specials)
    merges = [_pair(line) for line in lines[1 : num_merges + 1]]
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges), *specials]
    vocab = {piece: index for index, piece in enumerate(pieces)}

    tokenizer = tokenizers.Tokenizer(
        models.BPE(vocab=vocab, merges=merges, end_of_word_suffix="</w>")
    )
    tokenizer.add_special_tokens(specials)
    # U+017F, the long s, counts as s: CLIP matches without regard to case.
    words = tokenizers.Regex(r"'[s\x{17f}]|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return tokenizer


def _pair(line: str) -> tuple[str, str]:
    left, right = line.split()
    return left, right


_WORDS = ListOf(Text(100), 0, 1_000_000)
FIELDS: dict[str, Kind] = {"words": _WORDS, "subjects": _WORDS}  # of a stored `WordTokenizer`
SYNONYMS = {"an": "a"}  # for words that a vocabulary lacks


class WordTokenizer(Tokenizer):
    """A tokenizer with one id a word, for the built-in model; punctuation is dropped.

    Ids: 0 padding, 1 all unknown words, 2 start, 3 end, then the words in the given order.
    """

    unknown_id = 1
    start_id = 2
    end_id = 3
    first_word_id = 4

    def __init__(self, words: Sequence[str], subjects: Sequence[str] = ()) -> None:
        """Make a tokenizer.

        Args:
            words: the vocabulary.
            subjects: those words that name what the model can show; none: anything.

        Raises:
            InputError: a word is repeated or malformed, or a subject is no word.
        """
        malformed = [word for word in words if self._words_of(word.lower()) != [word]]
        if malformed or len(set(words)) != len(words):
            raise InputError(
                f"got a word list with repeated or malformed words {malformed[:5]}: "
                f"give each word once, in lower case, letters and digits only"
            )
        known = set(words)
        strangers = [name for name in subjects if name not in known]
        if strangers:
            raise InputError(f"got subjects {strangers[:5]}, expected words of the vocabulary")
        self.words, self.subjects = list(words), list(subjects)
        self.vocab_size = self.first_word_id + len(self.words)
        self._ids = {word: index for index, word in enumerate(self.words, self.first_word_id)}

    @classmethod
    def from_words(cls, texts: Sequence[str], subjects: Sequence[str] = ()) -> WordTokenizer:
        """Return the tokenizer of all words in `texts` (words or whole captions).

        Words are sorted: the ids do not depend on the order of the texts.
        """
        words = sorted({word for text in texts for word in cls._words_of(text.lower())})
        return cls(words, subjects)

    @classmethod
    def from_json(cls, text: str) -> WordTokenizer:
        """Return the tokenizer that `to_json` wrote.

        Raises:
            CheckpointError: the text is anything else.
        """
        try:
            stored = check_fields(parse_json(text, "it"), FIELDS, "it")
            return cls(stored["words"], stored.get("subjects", ()))
        except (InputError, KeyError) as error:
            raise CheckpointError(
                f'got tokenizer data that is not {{"words": [...]}} ({error}): '
                f"take the checkpoint from its source again"
            ) from error

    def to_json(self) -> str:
        """Return a JSON text for the metadata of a checkpoint."""
        subjects = {"subjects": self.subjects} if self.subjects else {}
        return json.dumps({"words": self.words, **subjects})

    def clean(self, prompt: str) -> str:
        """Return the words in lower case, one space between them."""
        return " ".join(self._words_of(prompt.lower()))

    def split(self, text: str) -> list[Token]:
        """Return one token a word."""
        return [Token(self._id(m.group()), m.start()) for m in re.finditer(r"\S+", text)]

    def hint(self, text: str) -> str:
        """Return a line if a cleaned text names none of `subjects`."""
        if not self.subjects or set(self.subjects) & set(text.split()):
            return ""
        return (
            f"this model shows only {', '.join(self.subjects)}, and the prompt names none of them: "
            "for anything else get a released model, see `hummingbird download`"
        )

    def unknown_words(self, text: str) -> list[str]:
        """Return the words without an id."""
        return [word for word in text.split() if self._id(word) == self.unknown_id]

    def _id(self, word: str) -> int:
        """Return a word's id, falling back to its synonym and then to `unknown_id`."""
        return self._ids.get(word, self._ids.get(SYNONYMS.get(word, word), self.unknown_id))

    @staticmethod
    def _words_of(text: str) -> list[str]:
        """Return the runs of letters and digits, of any script."""
        return re.findall(r"[^\W_]+", text)
