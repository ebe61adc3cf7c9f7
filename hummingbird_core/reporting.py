"""Nested results as lines of text, sizes for people, and matplotlib without a screen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .errors import MissingPackageError, printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_VALUE = 300  # characters


def report_lines(values: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """Yield `name: value` for each entry; nested entries follow, indented."""
    for name, value in values.items():
        label = f"{indent}{printable(str(name)).replace('_', ' ')}:"
        if isinstance(value, Mapping) and value:
            yield label
            yield from report_lines(value, indent + "  ")
        else:
            yield f"{label} {_plain(value)}"


def size_text(count: float) -> str:
    """Format a number of bytes, such as `2.5 GiB`; less than 0.1 GiB in MiB."""
    is_small = count < 0.1 * 2**30
    return f"{count / 2**20:.1f} MiB" if is_small else f"{count / 2**30:.1f} GiB"


def _plain(value: Any) -> str:
    if value is None or value in ([], (), {}):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return f"{value:,}" if isinstance(value, int) else _short(str(value))


def _short(text: str) -> str:
    """Truncate long values: metadata may hold a whole tokenizer."""
    return printable(text if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]}...")


def figure_class() -> type[Figure]:
    """Return matplotlib's Figure; pyplot would keep global state and need a screen.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingPackageError("plots need matplotlib: pip install matplotlib") from error
    return Figure


Progress = Callable[[int, int, str], None]  # done, total, what is being done


def count_steps(progress: Progress | None, total: int) -> Callable[[], None]:
    """Return a callback that reports one more of `total` steps of sampling."""
    done = 0

    def report() -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, total, "sampling")

    return report


def decoding(progress: Progress | None) -> Callable[[int, int], None] | None:
    """Return a callback that reports decoded frames."""
    return progress and (lambda done, total: progress(done, total, "decoding"))


def part_of(progress: Progress | None, before: int, total: int) -> Progress | None:
    """Return a callback for a part of a job of `total`, of which `before` is done."""
    return progress and (lambda done, _, text: progress(before + done, total, text))
