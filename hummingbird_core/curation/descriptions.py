"""Captions of clips from their frames: written where there are none, and to check those there are.

seen_short, seen_long    what a vision-language model sees in a clip
caption_seen             share of the words of the caption's subject that are in both, 0 to 1
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..agreement.load import model_identity
from ..engines.local import Engine
from ..errors import InputError
from ..prompts.backends.address import DEFAULT_URL
from ..prompts.captioner import LENGTHS, Captioner, describe, frames_for, open_captioner
from ..prompts.chat_enhancer import system_prompt
from ..prompts.subject import lost_words, subject_words
from ..prompts.text import WORD
from .measure import short_hash
from .model_fields import (
    clip_ids,
    find_values,
    sampled_clip,
    training_captions,
    with_column,
    with_reasons,
)

if TYPE_CHECKING:
    import pyarrow

SOURCES = ("local", "server")


@dataclass(frozen=True)
class DescribeConfig:
    """Settings of captions from frames.

    Args:
        source: one of `SOURCES`, or `MODULE:FUNCTION` of a user's function.
        model: a folder or downloaded hub id, or the name on the server.
        url: of the server.
        seed: of the wording.
    """

    source: str
    model: str | None = None
    url: str = DEFAULT_URL
    seed: int = 0

    def __post_init__(self) -> None:
        if self.source not in SOURCES and ":" not in self.source:
            raise InputError(
                f"got captions from frames by {self.source!r}, expected {' or '.join(SOURCES)}, or "
                "MODULE:FUNCTION"
            )

    def cache_key(self) -> str:
        """Return a cache key of eight letters that changes whenever captions may change."""
        prompts = [system_prompt(name) for name in LENGTHS.values()]
        named = self.source if ":" in self.source else self.model or ""
        return short_hash([asdict(self), prompts, model_identity(named)])


def describe_clips(
    table: pyarrow.Table, output: Path, engine: Engine, settings: DescribeConfig
) -> pyarrow.Table:
    """Return the manifest with captions from frames; a clip without a caption takes the long one.

    Args:
        table: the manifest without a verdict.
        output: folder of the results.
        engine: runs the model.
        settings: the model.

    Raises:
        OutputError: a result cannot be written.
    """
    ids, captions = clip_ids(table), training_captions(table)
    function = partial(describe_clip, settings=settings, clips=(output / "clips").resolve())
    journal = output / "journal" / f"descriptions-{settings.cache_key()}.jsonl"
    found = find_values("descriptions", [*filter(None, ids)], function, engine, journal)
    texts = [found.values.get(clip_id, {}) for clip_id in ids]
    for length in LENGTHS:
        table = with_column(table, f"seen_{length}", [text.get(length) for text in texts])
    reasons = {row: found.reasons[i] for row, i in enumerate(ids) if i in found.reasons}
    table = with_reasons(table, "seen_short, seen_long", reasons)
    seen = [_share_seen(*pair) for pair in zip(captions, texts, strict=True)]
    table = with_column(table, "caption_seen", seen)
    return _fill_captions(table, captions, texts)


def describe_clip(clip_id: str, settings: DescribeConfig, clips: Path) -> dict[str, str]:
    """Return the captions of a clip from its frames.

    Args:
        clip_id: of the clip.
        settings: the model.
        clips: folder of the clips.

    Raises:
        Exception: whatever the model raises.
    """
    captioner = _captioner(settings.source, settings.model, settings.url)
    frames, _ = sampled_clip(clips, clip_id)
    return describe(captioner, frames_for(frames), settings.seed)


@lru_cache(maxsize=1)  # once in each process
def _captioner(source: str, model: str | None, url: str) -> Captioner:
    return open_captioner(source, model, url)


def _share_seen(caption: str, texts: dict[str, str]) -> float | None:
    """Return the share of the words of a caption's subject that the model saw, None if unknown."""
    words = subject_words(caption) if caption else []
    if not words or not texts:
        return None
    return 1 - len(lost_words(words, " ".join(texts.values()))) / len(words)


def _fill_captions(
    table: pyarrow.Table, captions: Sequence[str], texts: Sequence[dict[str, str]]
) -> pyarrow.Table:
    better = table["rewritten_caption"].to_pylist()
    words: list[Any] = table["caption_words"].to_pylist()
    for row, (caption, text) in enumerate(zip(captions, texts, strict=True)):
        if not caption and text:
            better[row] = text["long"]
        if text:
            words[row] = len(WORD.findall(caption or text["long"]))
    table = with_column(table, "rewritten_caption", better)
    return with_column(table, "caption_words", words)
