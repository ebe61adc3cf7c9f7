"""The parts of a prompt over time: "0: a fox runs; 24: a fox sleeps; 3.5s: a fox wakes".

A time is a frame, or with "s" a second. A text without "0:" or "0s:" at its start is an ordinary
prompt. `sampling.prompt_schedule` makes texts and weights of the parts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..errors import InputError

_BEGINNING = re.compile(r"\s*0s?\s*:")
_TIME = r"\d+(?:\.\d+)?s?\s*:"
_SEPARATOR = re.compile(rf";|\n(?=\s*{_TIME})")
_PART = re.compile(rf"\s*({_TIME})(.*)", re.DOTALL)
_INNER_TIME = re.compile(r"[\s,](\d+(?:\.\d+)?s?:)(?!\d)")  # not the colon of 16:9


@dataclass(frozen=True)
class PromptPart:
    """One part of a prompt: its beginning as written, "24" or "2.5s", and its text."""

    time: str
    text: str

    def start(self, fps: float) -> float:
        """Return the frame at which the part begins, a fraction where seconds give one."""
        return float(self.time[:-1]) * fps if self.time.endswith("s") else float(self.time)

    def __str__(self) -> str:
        return f"{self.time}: {self.text}"


def is_schedule(prompt: str) -> bool:
    """Return whether a prompt has parts over time."""
    return bool(_BEGINNING.match(prompt))


def split_prompt(prompt: str) -> list[PromptPart]:
    """Return the parts of a prompt; an ordinary prompt is a single one.

    Raises:
        InputError: a part is empty, or has no time; names the part.
    """
    if not is_schedule(prompt):
        return [PromptPart("0", prompt)]
    return [_parse_part(part) for part in _SEPARATOR.split(prompt)]


def fitting_parts(prompt: str, num_frames: int, fps: float) -> list[PromptPart]:
    """Return the parts of a prompt, in order and all within the video.

    Args:
        prompt: with or without parts.
        num_frames: of the video.
        fps: frames per second, for times in seconds.

    Raises:
        InputError: a part is malformed, out of order, or behind the end of the video.
    """
    parts = split_prompt(prompt)
    for before, part in pairwise(parts):
        if part.start(fps) <= before.start(fps):
            raise InputError(
                f"got {part.time}: behind {before.time}: in a prompt over time, expected rising "
                "times: put the parts in order"
            )
    if parts[-1].start(fps) >= num_frames:
        raise InputError(
            f"got a part at {parts[-1].time}: in a prompt over time, but the video ends after "
            f"{num_frames} frames ({num_frames / fps:g} s), expected an earlier time: move it, or "
            "ask for more frames"
        )
    return parts


def join_prompt(parts: Sequence[PromptPart]) -> str:
    """Return the prompt of which `split_prompt` gives these parts."""
    return "; ".join(map(str, parts))


def plain_text(text: str) -> str:
    """Return a text in one line, without what would read as a border between parts."""
    line = " ".join(text.replace(";", ",").split())
    return _INNER_TIME.sub(lambda found: found[0].rstrip(":"), f" {line}").strip()


def _parse_part(part: str) -> PromptPart:
    found = _PART.match(part)
    if found is None:
        got = f"got {part.strip()!r} without a time" if part.strip() else "got an empty part"
        raise InputError(
            f"{got} in a prompt over time, expected FRAME: text or SECONDSs: text between "
            "semicolons: use commas within a text"
        )
    time, text = found[1].rstrip(": \t"), " ".join(found[2].split())
    if not text:
        raise InputError(f"got no text at {time}: in a prompt over time, expected one: add it")
    if not time.endswith("s") and "." in time:
        raise InputError(
            f"got the frame {time} in a prompt over time, expected a whole number: write {time}s: "
            "for seconds"
        )
    if inner := _INNER_TIME.search(f" {text}"):
        raise InputError(
            f"got the time {inner[1]} within a part of a prompt over time, expected a semicolon "
            "before it"
        )
    return PromptPart(time, text)
