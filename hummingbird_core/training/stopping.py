"""Ctrl-C that waits for the end of a step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def deferred_ctrl_c() -> Iterator[threading.Event]:
    """Gives an event that the first Ctrl-C sets; only the second one raises KeyboardInterrupt.

    In the middle of a step weights, averages and optimizer don't belong together, and the other
    processes wait for this one's gradients.
    """
    seen = threading.Event()
    previous = signal.getsignal(signal.SIGINT)
    is_main_thread = threading.current_thread() is threading.main_thread()
    # Whoever runs this without Ctrl-C, or with another meaning of it, keeps that.
    if not is_main_thread or previous is not signal.default_int_handler:
        yield seen
        return

    def remember(signum: int, frame: FrameType | None) -> None:
        if seen.is_set():
            raise KeyboardInterrupt
        seen.set()

    signal.signal(signal.SIGINT, remember)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, previous)
