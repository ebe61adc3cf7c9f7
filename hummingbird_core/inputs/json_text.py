"""JSON that people give."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError, first_line
from .text import MAX_TEXT_BYTES, read_text

MAX_DEPTH = 100  # of lists and objects; the errors about a value show it, which recurses


def read_json(path: Path, max_bytes: int = MAX_TEXT_BYTES) -> Any:
    """Read a JSON file.

    Raises:
        InputError: the file cannot be read, is too large, or is not JSON.
    """
    return parse_json(read_text(path, max_bytes), path.name)


def parse_json(text: str, name: str) -> Any:
    """Parse JSON.

    Args:
        text: one JSON value.
        name: of its file or line, for errors.

    Raises:
        InputError: the text is not JSON, is nested too deeply, or names a key of an object twice.
    """
    try:
        value = json.loads(text, object_pairs_hook=_without_repetition)
        if text.count("[") + text.count("{") > MAX_DEPTH and _is_deep(value):
            raise RecursionError
        return value
    except InputError as error:
        raise InputError(f"{name} {error}") from error
    except RecursionError as error:
        raise InputError(f"{name} is JSON that is nested too deeply: flatten it") from error
    except ValueError as error:
        is_syntax = isinstance(error, json.JSONDecodeError)
        reason = first_line(error) if is_syntax else "a number has thousands of digits"
        raise InputError(f"{name} is not JSON ({reason}): correct it") from error


def _is_deep(value: Any) -> bool:
    """Return whether values are nested beyond `MAX_DEPTH`, level by level."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, list | dict)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return bool(level)


def _without_repetition(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise InputError(f"has the key {key[:40]!r} twice: keep one of them")
        values[key] = value
    return values
