"""matplotlib, where it is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import MissingPackageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
