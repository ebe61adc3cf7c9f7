"""A Ctrl-C that is never lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn


@contextmanager
def graceful_interrupt() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C sets, besides raising KeyboardInterrupt as usual.

    Python drops an exception raised by a signal while a process starts, as ffmpeg does for each
    video: without the event, a Ctrl-C at that moment would be lost and the batch would continue.
    """
    seen = threading.Event()

    def remember(signum: int, frame: FrameType | None) -> NoReturn:
        seen.set()
        raise KeyboardInterrupt

    previous = signal.getsignal(signal.SIGINT)
    if previous is not signal.default_int_handler:  # a background job ignores Ctrl-C: keep that
        yield seen
        return
    signal.signal(signal.SIGINT, remember)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, previous)
