"""Nested results as lines to read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .errors import MissingPackageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_VALUE = 300  # characters


def report_lines(values: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """`name: value` for each entry; what is nested follows below, further in."""
    for name, value in values.items():
        label = f"{indent}{str(name).replace('_', ' ')}:"
        if isinstance(value, Mapping) and value:
            yield label
            yield from report_lines(value, indent + "  ")
        else:
            yield f"{label} {_plain(value)}"


def gibibytes(count: float) -> str:
    """A number of bytes for people: `2.5 GiB`."""
    return f"{count / 2**30:.1f} GiB"


def _plain(value: Any) -> str:
    if value is None or value in ([], (), {}):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return f"{value:,}" if isinstance(value, int) else _short(str(value))


def _short(text: str) -> str:
    """Metadata may hold a whole tokenizer; its beginning says enough."""
    return text if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]}..."


def figure_class() -> type[Figure]:
    """matplotlib's Figure, without pyplot, which keeps state and wants a screen.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingPackageError("plots need matplotlib: pip install matplotlib") from error
    return Figure
