"""Progress of long work: a bar on a terminal, a line a minute where the output is a file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

from ..terminal import print_error

SECONDS_BETWEEN_LINES = 60.0


@contextmanager
def progress(label: str, total: int, done: int = 0) -> Iterator[Callable[[], object]]:
    """Yield a callback that counts one more of `total` items on the standard error.

    Args:
        label: what is counted, in the plural.
        total: number of items.
        done: number of items finished by earlier runs.
    """
    with tqdm(total=total, initial=done, desc=label, disable=None) as bar:
        if not bar.disable:  # a terminal
            yield bar.update
            return
    lines = _Lines(label, total, done)
    lines.show()
    yield lines.count
    lines.show()


class _Lines:
    def __init__(self, label: str, total: int, done: int) -> None:
        self.label, self.total, self.done = label, total, done
        self.before, self.start = done, time.monotonic()
        self.printed = self.start

    def count(self) -> None:
        self.done += 1
        if time.monotonic() - self.printed >= SECONDS_BETWEEN_LINES:
            self.show()

    def show(self) -> None:
        self.printed = time.monotonic()
        fresh, left = self.done - self.before, self.total - self.done
        seconds = (self.printed - self.start) / fresh * left if fresh else 0
        rest = f", about {seconds / 60:.0f} min left" if fresh and left else ""
        print_error(f"{self.label}: {self.done} of {self.total}{rest}")
