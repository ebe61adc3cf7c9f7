"""Odd entries of a source that cost no video: counted by kind, with the first of them by name."""

from __future__ import annotations

from collections import defaultdict

from ..terminal import get_logger

logger = get_logger(__name__)

MAX_NAMED = 5


class Notices:
    """Counts of odd entries."""

    def __init__(self) -> None:
        self._counts: defaultdict[str, int] = defaultdict(int)
        self._first: defaultdict[str, list[str]] = defaultdict(list)

    def add(self, kind: str, name: str) -> None:
        """Count an entry.

        Args:
            kind: plural, such as "rows that name a video again".
            name: of the entry, such as "clips.csv row 3".
        """
        self._counts[kind] += 1
        if len(self._first[kind]) < MAX_NAMED:
            self._first[kind].append(name)

    def log(self, source: str) -> None:
        """Log one warning for each kind."""
        for kind, count in self._counts.items():
            named = ", ".join(self._first[kind])
            more = f" and {count - MAX_NAMED} more" if count > MAX_NAMED else ""
            logger.warning("%s has %s: %s%s", source, kind, named, more)
