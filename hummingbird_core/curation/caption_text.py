"""Captions from caption files, members of shards and cells of tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import InputError
from ..inputs.json_text import parse_json
from ..inputs.tables import by_column
from ..inputs.text import as_unicode, decode_text, describe, reason_not_text

CAPTION_SUFFIXES = (".txt", ".json")  # the first that holds a caption counts
CAPTION_COLUMNS = ("caption", "text", "prompt", "description", "name")
MAX_CAPTION = 10_000  # characters; the rest would bloat the manifest
MAX_CAPTION_BYTES = 1 << 20  # of a caption file; it may hold other facts about the video, too


def caption_in(data: bytes, suffix: str, name: str) -> str:
    """Return the caption in the bytes of a caption file; "" if there is none.

    Args:
        data: contents of the file.
        suffix: one of `CAPTION_SUFFIXES`.
        name: of the file, for errors.

    Raises:
        InputError: the file is not text, not JSON, or its caption is not text.
    """
    text = decode_text(data, name)
    if suffix == ".txt" or not text.strip():
        return clean_caption(text)
    fields = parse_json(text, name)
    if not isinstance(fields, dict):  # of another program
        return ""
    return caption_text(first_filled(by_column(fields.items()), CAPTION_COLUMNS), name)


def caption_text(value: Any, name: str) -> str:
    """Return the caption that a cell or field holds; "" if it is empty.

    Raises:
        InputError: the value is not text.
    """
    if value is None or value != value:  # NaN is how tables of numbers write "nothing"
        return ""
    if not isinstance(value, str):
        raise InputError(f"{name} has {describe(value)} as caption, expected text")
    if reason := reason_not_text(value):
        raise InputError(f"{name} has a caption that {reason}: correct it")
    return clean_caption(value)


def clean_caption(text: Any) -> str:
    """Return the caption as one line without control characters; "" if it is not text."""
    if not isinstance(text, str):
        return ""
    printable = "".join(c if c.isprintable() else " " for c in text[:MAX_CAPTION])
    return " ".join(as_unicode(printable).split())


def first_filled(row: Mapping[str, Any], names: Iterable[str]) -> Any:
    """Return the first non-empty entry of `row` under one of `names`."""
    values = (row.get(name) for name in names)
    return next((value for value in values if not _is_empty(value)), None)


def _is_empty(value: Any) -> bool:
    return not value.strip() if isinstance(value, str) else value in (None, [], {})
