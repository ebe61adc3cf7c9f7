"""Columns by models that judge clips; a failure costs a clip these columns, with the reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..agreement.load import model_identity
from ..engines.local import Engine
from ..errors import HummingbirdError, InputError, first_line
from ..files import import_callable
from ..terminal import get_logger
from .measure import column_number, new_column_name, short_hash
from .model_fields import (
    clip_ids,
    find_values,
    sampled_clip,
    training_captions,
    with_column,
    with_reasons,
)

if TYPE_CHECKING:
    import pyarrow

logger = get_logger(__name__)

VERSION = 1  # raised when clips are given to judges in another way


@dataclass(frozen=True)
class JudgeConfig:
    """A model that judges clips.

    Args:
        name: `MODULE:FUNCTION` of a function that returns the judge.
        model: what it is called with; "" calls it without arguments.
    """

    name: str
    model: str = ""

    @classmethod
    def parse(cls, text: str) -> JudgeConfig:
        """Parse `MODULE:FUNCTION` or `MODULE:FUNCTION=MODEL`.

        Raises:
            InputError: the text is neither.
        """
        name, _, model = text.partition("=")
        if ":" not in name:
            raise InputError(
                f"got judge {text!r}, expected MODULE:FUNCTION or MODULE:FUNCTION=MODEL"
            )
        return cls(name, model)

    def cache_key(self) -> str:
        """Return a cache key of eight letters that changes whenever the columns may change."""
        models = [model_identity(name) for name in (self.name, self.model) if name]
        return short_hash([VERSION, self.name, models])


def judge_clips(
    table: pyarrow.Table, output: Path, engine: Engine, settings: JudgeConfig
) -> pyarrow.Table:
    """Return the manifest with the columns of a judge.

    Args:
        table: the manifest without a verdict.
        output: folder of the results.
        engine: runs the judge.
        settings: the judge.

    Raises:
        OutputError: a result cannot be written.
    """
    pairs = zip(clip_ids(table), training_captions(table), strict=True)
    keys = [json.dumps([clip_id, caption]) if clip_id else "" for clip_id, caption in pairs]
    function = partial(judge_clip, settings=settings, clips=(output / "clips").resolve())
    journal = output / "journal" / f"judged-{settings.cache_key()}.jsonl"
    found = find_values(
        f"answers of {settings.name}", [*filter(None, keys)], function, engine, journal
    )
    # Sorted: answers come in the order in which processes finish.
    for column in sorted({name for values in found.values.values() for name in values}):
        if column in table.column_names:
            logger.warning("column %s of %s is taken and left out", column, settings.name)
            continue
        values = [found.values.get(key, {}).get(column) for key in keys]
        table = with_column(table, column, values)
    reasons = {row: found.reasons[key] for row, key in enumerate(keys) if key in found.reasons}
    return with_reasons(table, settings.name, reasons)


def judge_clip(key: str, settings: JudgeConfig, clips: Path) -> dict[str, float | None]:
    """Return the columns of a clip.

    Args:
        key: id and caption of the clip, as JSON.
        settings: the judge.
        clips: folder of the clips.

    Raises:
        HummingbirdError: the judge cannot be made, failed, or returned anything but numbers.
    """
    clip_id, caption = json.loads(key)
    judge = _judge(settings)
    frames, fps = sampled_clip(clips, clip_id)
    answer = judge(frames, fps, caption)
    try:
        return {new_column_name(name): column_number(value) for name, value in dict(answer).items()}
    except (TypeError, ValueError) as error:
        raise HummingbirdError(
            f"got {str(answer)[:60]} from the judge {settings.name} ({first_line(error)}), "
            "expected a dict of numbers under names that are not taken"
        ) from error


@lru_cache(maxsize=1)  # once in each process
def _judge(settings: JudgeConfig) -> Callable[..., Any]:
    make = import_callable(settings.name, "judge")
    return make(settings.model) if settings.model else make()
