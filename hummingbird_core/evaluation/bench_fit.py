"""What takes more memory than there is: told apart from other errors, so that a table goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from ..errors import first_line, memory_advice

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


def if_it_fits(function: Callable[..., Result], *args: Any) -> Result | None:
    """What `function` gives; None, and a warning, if that takes more memory than there is."""
    try:
        return function(*args)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        logger.warning("this does not fit into memory: %s", first_line(error))
        return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out.

    A process of ours that ended without a word counts: so a system ends what takes too much.
    """
    return isinstance(error, BrokenProcessPool) or memory_advice(error) is not None
