"""The manifest: a parquet table with one row per clip, and one per video without clips."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..files import atomic_write
from ..inputs.parquet import DAMAGE, require_parquet

if TYPE_CHECKING:
    import pyarrow

TEXT_COLUMNS = (  # all that are no numbers; "captions" are events with times
    "id",
    "source",
    "source_id",
    "caption",
    "rewritten_caption",
    "captions",
    "seen_short",
    "seen_long",
    "boundary",
    "error",
    "absent",
    "hash",
)
VERDICT_COLUMNS = ("kept", "dropped_by", "reason")  # added by the selection
WHOLE_COLUMNS = ("start_frame", "num_frames", "width", "height", "caption_words", "transition")
NUMBER_COLUMNS = (*WHOLE_COLUMNS, "fps", "seconds")  # present for every clip
CAMERA_COLUMNS = ("camera_speed", "camera_shake", "camera_zoom", "dolly_zoom")
MODEL_COLUMNS = ("agreement", "caption_seen")  # added by models after the measuring
FIRST_COLUMNS = (*TEXT_COLUMNS, *NUMBER_COLUMNS)  # other columns follow in alphabetical order
BATCH = 1000  # rows held as Python objects at a time


def build_table(rows: Iterable[dict[str, Any]]) -> pyarrow.Table:
    """Build a table from rows in any order, sorted by video and by start frame.

    A missing value is null. Every column that is not text is numeric.
    """
    require_parquet()
    import pyarrow as pa

    remaining = iter(rows)
    empty = pa.schema([(name, column_type(name)) for name in FIRST_COLUMNS]).empty_table()
    batches = [empty, *_batches(remaining)]
    table = pa.concat_tables(batches, promote_options="default")
    others = sorted(set(table.column_names) - set(FIRST_COLUMNS))
    order = [("source", "ascending"), ("start_frame", "ascending")]
    return table.select([*FIRST_COLUMNS, *others]).sort_by(order).combine_chunks()


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[pyarrow.Table]:
    import pyarrow as pa

    while batch := list(islice(rows, BATCH)):
        names = {name for row in batch for name in row}
        yield pa.Table.from_pylist(batch, pa.schema([(name, column_type(name)) for name in names]))


def column_type(name: str) -> Any:
    """Return the type of a column by its name."""
    import pyarrow as pa

    if name == "captions":
        times = {"start": pa.float64(), "end": pa.float64()}
        return pa.list_(pa.struct({**times, "text": pa.string()}))
    if name in TEXT_COLUMNS:
        return pa.string()
    return pa.int64() if name in WHOLE_COLUMNS else pa.float64()


def measured_columns(table: pyarrow.Table) -> list[str]:
    """Return the numeric columns, which rules can refer to."""
    text = {*TEXT_COLUMNS, *VERDICT_COLUMNS}
    return [name for name in table.column_names if name not in text]


def column_values(table: pyarrow.Table, column: str) -> np.ndarray:
    """Return a column as float64 [N], NaN where it was not measured."""
    if column not in table.column_names:
        return np.full(len(table), np.nan)
    return table[column].to_numpy(zero_copy_only=False).astype(np.float64)


def write_manifest(path: Path, table: pyarrow.Table) -> None:
    """Write `table` as parquet; equal rows give equal bytes."""
    with atomic_write(path) as temporary:
        require_parquet().write_table(table, temporary, compression="zstd", row_group_size=10_000)


def read_manifest(path: Path) -> pyarrow.Table:
    """Read the measured columns of a manifest, without the verdict of an earlier selection.

    Raises:
        InputError: the manifest is missing or damaged.
    """
    parquet = require_parquet()
    try:
        table = parquet.read_table(path)
    except DAMAGE as error:
        raise InputError(
            f"cannot read the manifest {path}: {error}; curate a SOURCE into this folder first"
        ) from error
    return table.drop_columns([name for name in VERDICT_COLUMNS if name in table.column_names])
