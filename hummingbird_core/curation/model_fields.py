"""Values that models give clips after the measuring: resumable, and no failure stops the run.

What a model cannot do for a clip is absent, and the manifest's column `absent` has the reason.
Finished values are in a journal, so the next run asks for the others only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..engines.failures import FailureStreak
from ..engines.journal import Journal, read_journal
from ..engines.local import WORKER_DIED, Engine
from ..errors import HummingbirdError, machine_advice, memory_advice
from ..inputs.timed_captions import untimed
from ..terminal import get_logger
from ..video.reader import open_video
from .measure import clip_path, reason_of
from .progress import progress

if TYPE_CHECKING:
    import pyarrow

logger = get_logger(__name__)

MAX_SEEN = 32  # frames of a clip that a model gets, or up to twice as many


@dataclass
class Found:
    """Values by key, and for the other keys the reasons why they are absent."""

    values: dict[str, Any] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


def find_values(
    label: str,
    keys: Sequence[str],
    function: Callable[[str], Any],
    engine: Engine,
    journal: Path,
) -> Found:
    """Return the value of each key, from the journal or from the engine's processes.

    Args:
        label: what is counted, in the plural.
        keys: such as ids of clips.
        function: gives the value of a key, plain data for JSON, or raises; picklable.
        engine: runs it.
        journal: file of the finished values.

    Raises:
        OutputError: the journal cannot be written.
    """
    wanted = dict.fromkeys(keys)
    found = Found({key: value for key, value in read_journal(journal) if key in wanted})
    todo = [key for key in wanted if key not in found.values]
    if todo:
        _find_missing(label, todo, function, engine, journal, found)
    if found.reasons:
        key, reason = next(iter(found.reasons.items()))
        logger.warning(
            "%d of %d %s are absent, the first, %.60s, because: %s; the same command tries them "
            "again",
            *(len(found.reasons), len(wanted), label, key, reason),
        )
    return found


def _find_missing(
    label: str,
    todo: Sequence[str],
    function: Callable[[str], Any],
    engine: Engine,
    journal: Path,
    found: Found,
) -> None:
    streak = FailureStreak(label)
    total = len(todo) + len(found.values)
    stage = partial(attempt, function=function)
    with Journal(journal) as finished, progress(label, total, len(found.values)) as count:
        try:
            for key, outcome in engine.map(stage, todo, _lost):
                if "error" in outcome:
                    found.reasons[key] = outcome["error"]
                    streak.failed(key, outcome["error"])
                else:
                    finished.append(key, outcome["value"])
                    found.values[key] = outcome["value"]
                    streak.succeeded()
                count()
        except HummingbirdError as error:
            if streak.alike < streak.max_alike:  # the engine's or the journal's
                raise
            last = next(reversed(found.reasons.values()), str(error))
            rest = (key for key in todo if key not in found.values)
            found.reasons = {**dict.fromkeys(rest, last), **found.reasons}


def attempt(key: str, function: Callable[[str], Any]) -> dict[str, Any]:
    """Return {"value": ...}, or {"error": the reason}; never raises."""
    from ..devices import one_thread, trim_memory  # here, as only workers need torch

    try:
        with one_thread():
            return {"value": function(key)}
    except Exception as error:  # a model of another author may raise anything, on any clip
        return {"error": memory_advice(error) or machine_advice(error) or reason_of(error)}
    finally:
        trim_memory()


def _lost(key: str) -> dict[str, Any]:
    return {"error": WORKER_DIED}


def sampled_clip(clips: Path, clip_id: str) -> tuple[np.ndarray, float]:
    """Return some frames of a curated clip, see `sampled_frames`, and its frame rate.

    Args:
        clips: folder of the clips.
        clip_id: of the clip.

    Raises:
        InputError: the file is damaged.
    """
    with open_video(clip_path(clips, clip_id)) as video:
        return sampled_frames(video.frames), video.fps


def sampled_frames(frames: Iterable[np.ndarray], most: int = MAX_SEEN) -> np.ndarray:
    """Return frames evenly apart, `most` of them or up to twice as many, in their memory alone."""
    kept: list[np.ndarray] = []
    every = 1
    for number, frame in enumerate(frames):
        if number % every == 0:
            kept.append(frame)
        if len(kept) == 2 * most:
            kept, every = kept[::2], 2 * every
    return np.stack(kept)


def training_captions(table: pyarrow.Table) -> list[str]:
    """Return what training reads as the caption of each row, without times; "" if there is none."""
    columns = table["rewritten_caption"].to_pylist(), table["caption"].to_pylist()
    return [untimed(better or own or "") for better, own in zip(*columns, strict=True)]


def clip_ids(table: pyarrow.Table) -> list[str]:
    """Return the id of each row, "" for videos that could not be used."""
    columns = table["id"].to_pylist(), table["error"].to_pylist()
    return ["" if error else clip_id for clip_id, error in zip(*columns, strict=True)]


def with_column(table: pyarrow.Table, name: str, values: Sequence[Any]) -> pyarrow.Table:
    """Return the table with a column added or replaced."""
    import pyarrow as pa

    from .table import column_type

    column = pa.array(values, column_type(name))
    if name not in table.column_names:
        return table.append_column(name, column)
    return table.set_column(table.column_names.index(name), name, column)


def with_reasons(
    table: pyarrow.Table, field_name: str, reasons: Mapping[int, str]
) -> pyarrow.Table:
    """Return the table with reasons, by row, why a field is absent."""
    absent = [text or "" for text in table["absent"].to_pylist()]
    for row, reason in reasons.items():
        absent[row] = "; ".join(filter(None, [absent[row], f"{field_name}: {reason}"]))
    return with_column(table, "absent", absent)
