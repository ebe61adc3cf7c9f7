"""Captions from caption files, members of shards and cells of tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import InputError
from ..inputs.json_text import parse_json
from ..inputs.prompt_parts import PromptPart, is_schedule, join_prompt, split_prompt
from ..inputs.tables import by_column
from ..inputs.text import as_unicode, decode_text, describe, reason_not_text
from ..inputs.timed_captions import events_prompt, has_events, is_timed, read_events

CAPTION_SUFFIXES = (".txt", ".json")  # the first that holds a caption counts
CAPTION_COLUMNS = ("caption", "text", "prompt", "description", "name")
EVENTS_COLUMN = "captions"  # a list of events with times, see `inputs.timed_captions`
# How databases and tables of numbers write "no value"; a caption of one such word says nothing.
_NO_VALUE = ("", "null", "nan", "none", "n/a", "<na>", "\\n")
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
        return caption_text(text, name)
    fields = parse_json(text, name)
    if not isinstance(fields, dict):  # of another program
        return ""
    return caption_of(by_column(fields.items()), CAPTION_COLUMNS, name)


def caption_of(row: Mapping[str, Any], columns: Iterable[str], name: str) -> str:
    """Return the caption of a row or object: its events with times, or else its text.

    Args:
        row: values by key of their column.
        columns: keys that may hold the caption of the whole video; the first that is filled counts.
        name: of the row, for errors.

    Raises:
        InputError: the caption is not text, or an event is none.
    """
    whole = first_filled(row, columns)
    events = _parsed(row.get(EVENTS_COLUMN), name)
    if has_events(whole):  # in a column that people chose
        return events_prompt(read_events(whole, name))
    caption = caption_text(whole, name)
    if not has_events(events):
        return caption
    return events_prompt(read_events(events, name), "" if is_timed(caption) else caption)


def _parsed(value: Any, name: str) -> Any:
    """Return events as a list; cells of a table hold them as JSON."""
    is_json = isinstance(value, str) and value.lstrip().startswith("[{")
    return parse_json(value, name) if is_json else value


def caption_text(value: Any, name: str) -> str:
    """Return the caption that a cell or field holds; "" if it is empty.

    Raises:
        InputError: the value is not text.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InputError(f"{name} has {describe(value)} as caption, expected text")
    if reason := reason_not_text(value):
        raise InputError(f"{name} has a caption that {reason}: correct it")
    return _timed(value, name) if is_schedule(value) else clean_caption(value)


def _timed(text: str, name: str) -> str:
    """Return a prompt over time as one line, each of its texts cleaned."""
    try:
        parts = [PromptPart(part.time, clean_caption(part.text)) for part in split_prompt(text)]
    except InputError as error:
        raise InputError(f"{name} has a caption that is a prompt over time: {error}") from error
    return join_prompt(parts) if len(parts) > 1 else clean_caption(text)


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
    if isinstance(value, str):
        return value.strip().casefold() in _NO_VALUE
    return value in (None, [], {}) or value != value  # NaN
