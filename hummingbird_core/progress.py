"""How far the work on a video is, for whoever asked to be told."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int, str], None]  # done, total, what is being done


def count_steps(progress: Progress | None, total: int) -> Callable[[], None]:
    """To be called after each of `total` steps of sampling."""
    done = 0

    def report() -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, total, "sampling")

    return report


def decoding(progress: Progress | None) -> Callable[[int, int], None] | None:
    """To be told how many frames of how many are decoded."""
    return progress and (lambda done, total: progress(done, total, "decoding"))


def part_of(progress: Progress | None, before: int, total: int) -> Progress | None:
    """For one part of a work of `total`, of which `before` is done."""
    return progress and (lambda done, _, text: progress(before + done, total, text))
