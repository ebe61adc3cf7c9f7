"""Ctrl-C that always counts."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn


@contextmanager
def graceful_interrupt() -> Iterator[threading.Event]:
    """Give an event that is set by Ctrl-C, which raises KeyboardInterrupt as ever.

    Python drops an exception that a signal raises while a process is being started, as ffmpeg is
    for each video: without the event, a Ctrl-C in that moment would be lost and a batch go on.
    """
    seen = threading.Event()

    def remember(signum: int, frame: FrameType | None) -> NoReturn:
        seen.set()
        raise KeyboardInterrupt

    previous = signal.getsignal(signal.SIGINT)
    if previous is not signal.default_int_handler:  # a background job ignores Ctrl-C: leave it so
        yield seen
        return
    signal.signal(signal.SIGINT, remember)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, previous)
