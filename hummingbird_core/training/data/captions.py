"""Captions that a text encoder cannot use: said once a run, not once a step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from ...inputs.timed_captions import texts_of
from ...terminal import get_logger
from ...text.encoder import TextEncoder, TextEncoding
from ..loop.distributed import distributed_state
from .batch import ClipSource
from .clip_sources import CachedClips, Mixture

logger = get_logger(__name__)

WORDS_SHOWN = 10


@dataclass
class CaptionCheck:
    """Warnings of the captions of a run.

    Attributes:
        expected: words that may be unknown, such as a trigger.
        seen: unknown words already reported.
        cut: whether a caption that is too long was reported.
    """

    expected: Collection[str] = ()
    seen: set[str] = field(default_factory=set)
    cut: bool = False

    def check(self, encoder: TextEncoder, captions: Iterable[str]) -> None:
        """Report captions before the first step, without encoding them."""
        texts = {text for caption in captions for text in texts_of(caption)}
        tokenized = encoder.tokenize(sorted(texts), warn=False)
        self._report([t.unknown for t in tokenized], [t.dropped for t in tokenized])

    def report(self, encoding: TextEncoding) -> None:
        """Report encoded captions of a source whose captions were not known before."""
        self._report(encoding.unknown, encoding.dropped)

    def _report(self, unknown: list[list[str]], dropped: list[str]) -> None:
        if not (any(unknown) or any(dropped)) or not distributed_state().is_main_process:
            return
        counts = Counter(word for words in unknown for word in set(words))
        new = [w for w, _ in counts.most_common() if w not in self.seen and w not in self.expected]
        if new:
            self.seen.update(new)
            affected = sum(any(word in new for word in words) for words in unknown)
            more = f" and {len(new) - WORDS_SHOWN} more" if len(new) > WORDS_SHOWN else ""
            logger.warning(
                "%d of %d captions have words that this model does not know: %s%s; it cannot tell "
                "one from another",
                *(affected, len(unknown), ", ".join(new[:WORDS_SHOWN]), more),
            )
        if any(dropped) and not self.cut:
            self.cut = True
            count = sum(map(bool, dropped))
            example = next(filter(None, dropped))
            logger.warning(
                "%d of %d captions are too long, their ends have no effect, such as: %s",
                *(count, len(dropped), example),
            )


def known_captions(clips: ClipSource) -> list[str]:
    """Return all captions of a source of finitely many clips, without those it draws on demand."""
    if isinstance(clips, Mixture):
        return [text for source, _ in clips.sources for text in known_captions(source)]
    return [clip.caption for clip in clips.clips] if isinstance(clips, CachedClips) else []
