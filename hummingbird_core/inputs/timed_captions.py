"""Captions with times: the events of a video, and their share of a clip or of a training window.

    [{"start": 0, "end": 2.5, "text": "a fox runs"}, {"start": 2.5, "end": 4, "text": "it sleeps"}]

in seconds is the prompt over time "0s: a fox runs; 2.5s: it sleeps" (see `prompt_parts`). Captions
have this form everywhere else, so that what trains a model is written like its prompts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from ..errors import InputError
from .prompt_parts import PromptPart, is_schedule, join_prompt, plain_text, split_prompt

MAX_EVENTS = 1000  # of a video: one every four seconds of an hour
EXPECTED = 'expected {"start": seconds, "end": seconds, "text": text}'


@dataclass(frozen=True)
class Event:
    """A text, seen from `start` to before `end`, in seconds; an infinite end is the video's."""

    start: float
    end: float
    text: str


def has_events(value: Any) -> bool:
    """Return whether a field holds a list of events; other programs keep lists of texts there."""
    return isinstance(value, list) and any(isinstance(entry, Mapping) for entry in value)


def read_events(value: Sequence[Any], name: str) -> list[Event]:
    """Return the events of a list as JSON has them; one without an end lasts until the next.

    Args:
        value: objects with "start", "text" and, if known, "end", in any order.
        name: of the video, for errors.

    Raises:
        InputError: an entry is no event.
    """
    if len(value) > MAX_EVENTS:
        raise InputError(f"{name} has {len(value)} events, expected at most {MAX_EVENTS}")
    found = [_read_event(entry, f"{name} has as event {n}") for n, entry in enumerate(value, 1)]
    found.sort(key=lambda event: event.start)
    starts = [event.start for event in found]
    following = (min((s for s in starts if s > event.start), default=math.inf) for event in found)
    return [
        event if math.isfinite(event.end) else Event(event.start, after, event.text)
        for event, after in zip(found, following, strict=True)
    ]


def _read_event(entry: Any, where: str) -> Event:
    fields: Mapping[str, Any] = entry if isinstance(entry, Mapping) else {}
    text, start, end = (fields.get(name) for name in ("text", "start", "end"))
    start, end = _time(start), math.inf if end is None else _time(end)
    if start is None or end is None or not isinstance(text, str) or not plain_text(text):
        raise InputError(f"{where} {str(entry)[:100]}, {EXPECTED}: correct it")
    if not start < end:
        raise InputError(f"{where} one from {start} to {end} s, expected an end after its start")
    return Event(start, end, plain_text(text))


def _time(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and value >= 0 else None


def events_prompt(events: Sequence[Event], between: str = "") -> str:
    """Return events as a prompt over time, or as a single text if nothing changes.

    Args:
        events: in any order; texts of events that overlap are joined with commas.
        between: text of the times without an event, such as the caption of the whole video;
            without it the event before lasts on, and the first one begins with the video.
    """
    borders = sorted({0.0, *(e.start for e in events), *(e.end for e in events)} - {math.inf})
    texts = [(time, _text_at(time, events) or plain_text(between)) for time in borders]
    return _join([(0.0 if n == 0 else time, text) for n, (time, text) in enumerate(_said(texts))])


def _text_at(time: float, events: Sequence[Event]) -> str:
    return ", ".join(dict.fromkeys(e.text for e in events if e.start <= time < e.end))


def _said(texts: Iterable[tuple[float, str]]) -> list[tuple[float, str]]:
    """Return the times at which another text begins; an empty one changes nothing."""
    found: list[tuple[float, str]] = []
    for time, text in texts:
        if text and not (found and found[-1][1] == text):
            found.append((time, text))
    return found


def _join(texts: Sequence[tuple[float, str]]) -> str:
    if len(texts) < 2:
        return texts[0][1] if texts else ""
    return join_prompt([PromptPart(f"{_seconds(time)}s", text) for time, text in texts])


def _seconds(time: float) -> str:
    return f"{time:.3f}".rstrip("0").rstrip(".")


def is_timed(caption: str) -> bool:
    """Return whether a caption says several things, each with its time."""
    return is_schedule(caption) and len(split_prompt(caption)) > 1


def texts_of(caption: str) -> list[str]:
    """Return the distinct texts of a caption, without their times."""
    return list(dict.fromkeys(part.text for part in split_prompt(caption)))


def untimed(caption: str) -> str:
    """Return all that a caption says as one text, for what takes no times."""
    return ", then ".join(texts_of(caption)) if is_timed(caption) else caption


def reworded(caption: str, wording: Mapping[str, str]) -> str:
    """Return a caption with other texts at the same times; "" if no text of it has another wording.

    Args:
        caption: with or without times.
        wording: text -> its new wording, "" to leave it as it is.
    """
    if not any(wording.get(text) for text in texts_of(caption)):
        return ""
    if not is_timed(caption):
        return wording[texts_of(caption)[0]]
    parts = split_prompt(caption)
    return join_prompt(
        [PromptPart(p.time, plain_text(wording.get(p.text) or p.text)) for p in parts]
    )


def prefixed(prefix: str, caption: str) -> str:
    """Return a caption with words such as a trigger before each of its texts."""
    if not is_timed(caption):
        return f"{prefix} {caption}".strip()
    parts = split_prompt(caption)
    return join_prompt([PromptPart(part.time, f"{prefix} {part.text}".strip()) for part in parts])


def cut_to_frames(caption: str, fps: float, first: int, count: int, stride: int = 1) -> str:
    """Return the caption of some frames of a video, its times as numbers of these frames.

    Args:
        caption: of the video, with or without times.
        fps: frames per second of the video.
        first: of the chosen frames.
        count: number of chosen frames.
        stride: every how many frames one is chosen.
    """
    if not is_timed(caption):
        return caption
    parts = _parts_in(caption, fps, first, count, stride)
    if len(parts) == 1:
        return parts[0][1]
    return join_prompt([PromptPart(str(frame), text) for frame, text in parts])


def cut_to_clip(caption: str, fps: float, first: int, count: int) -> tuple[str, list[dict] | None]:
    """Return the caption of a clip of a video, its times in seconds of the clip.

    Args:
        caption: of the video, with or without times.
        fps: frames per second.
        first: first frame of the clip.
        count: number of frames of the clip.

    Returns:
        the caption, and its events as `read_events` takes them, None if it has no times.
    """
    if not is_timed(caption):
        return caption, None
    parts = _parts_in(caption, fps, first, count, stride=1)
    borders = [*(round(frame / fps, 3) for frame, _ in parts), round(count / fps, 3)]
    texts = (text for _, text in parts)
    events = [Event(*times, text) for times, text in zip(pairwise(borders), texts, strict=True)]
    return _join([(e.start, e.text) for e in events]), [asdict(event) for event in events]


def _parts_in(
    caption: str, fps: float, first: int, count: int, stride: int
) -> list[tuple[int, str]]:
    """Return the texts of the chosen frames, each with the number of the frame it begins at."""
    found: dict[int, str] = {}
    for part in sorted(split_prompt(caption), key=lambda part: part.start(fps)):
        frame = max(0, round((part.start(fps) - first) / stride))
        if frame < count:  # of several parts that begin at or before a frame, the last one holds
            found[frame] = part.text
    return [(int(frame), text) for frame, text in _said(sorted(found.items()))]
