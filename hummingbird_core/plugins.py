"""Functions of the user's own, called by name."""

from __future__ import annotations

import importlib
from typing import Any

from .errors import InputError


def named_function(name: str, kind: str) -> Any:
    """The function that `name` stands for.

    Args:
        name: `module:function`, importable where the work is done.
        kind: what it is used as, for the error.

    Raises:
        InputError: there is no such function.
    """
    module_name, _, function_name = name.partition(":")
    try:
        return getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"got {kind} {name!r}, expected MODULE:FUNCTION that can be imported: {error}"
        ) from error
