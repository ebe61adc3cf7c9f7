"""Parquet tables that people give: only wanted columns are read, in small pieces.

A video column may hold paths, or the videos themselves: plain bytes, or `{"bytes", "path"}` as the
Video feature of Hugging Face datasets writes them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from ..errors import InputError, MissingPackageError, first_line
from .names import MAX_PATH
from .tables import Row, Table, by_column, column_key

BATCH = 1024  # rows
MAX_CELL = 1 << 16  # bytes; a longer value is neither a caption nor a path
MAX_ROWS = 100_000  # or one per byte of the file: rows that are all equal take no space
MAX_GROWTH = 100  # of a column in memory against the file; text shrinks to a tenth at best
MIN_GROWN = 64 << 20  # bytes; smaller columns may grow as they like
# All that pyarrow raises for damaged files.
DAMAGE = (OSError, ValueError, LookupError, NotImplementedError, TypeError, MemoryError)


@dataclass(frozen=True)
class StoredVideo:
    """A video inside of a parquet file, see `write_cell`.

    Attributes:
        column: name of its column of bytes.
        row: its row, from 0.
        path: path that the table states for it; "" if none.
    """

    column: str
    row: int
    path: str


def require_parquet() -> Any:
    """Import the module `pyarrow.parquet`.

    Raises:
        MissingPackageError: pyarrow is not installed.
    """
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingPackageError(
            "curation needs the package pyarrow: pip install pyarrow"
        ) from error
    return pyarrow.parquet


@contextmanager
def open_parquet(path: Path, videos: Collection[str], captions: Collection[str]) -> Iterator[Table]:
    """Open a parquet file for one pass over its rows.

    Args:
        path: the file.
        videos: keys of columns with paths or videos: values are texts or `StoredVideo`.
        captions: keys of columns with text; columns of another type are `Table.unusable`.

    Raises:
        InputError: the file cannot be read, or its columns grow beyond measure in memory.
        MissingPackageError: pyarrow is not installed.
    """
    parquet = require_parquet()
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
        # Dictionaries stay as they are: a long text that all rows share is read once.
        schema = parquet.read_schema(path)
        table = parquet.ParquetFile(path, read_dictionary=_text_leaves(schema))
        _check_rows(table.metadata, size, path.name)
        wanted = _wanted(table, {*videos}, {*captions})
        _check_growth(table.metadata, wanted, path.name)
    except DAMAGE as error:
        if isinstance(error, InputError):
            raise
        reason = first_line(error)
        raise InputError(f"cannot read {path} as a parquet file: {reason}") from error
    with table:
        usable = {column_key(column.name): column.name for column in wanted}
        unusable = {
            column_key(column.name): f"{column.name} ({column.type})"
            for column in schema
            if column_key(column.name) not in usable
        }
        yield Table(_rows(table, wanted), usable, unusable)


def _text_leaves(schema: Any) -> list[str]:
    """Return the names of columns of text, and of the fields "path" of columns."""
    from pyarrow import types

    plain = [field.name for field in schema if types.is_string(field.type)]
    return [*plain, *(f"{field.name}.path" for field in schema if types.is_struct(field.type))]


def write_cell(path: Path, column: str, row: int, target: Path) -> None:
    """Write the bytes of a `StoredVideo` to the file `target`.

    Raises:
        InputError: the cell is empty, or the table is damaged.
    """
    try:
        with require_parquet().ParquetFile(path) as table:
            data = _cell(table, column, row)
    except DAMAGE as error:
        raise InputError(f"cannot read {path} as a parquet file: {first_line(error)}") from error
    if not data:
        raise InputError(f"row {row + 1} of {path.name} holds no bytes of a video: fill it in")
    target.write_bytes(data)


def _cell(table: Any, column: str, row: int) -> Any:
    """Return the bytes at a row, from 0, in the memory of a few rows."""
    for group in range(table.num_row_groups):
        count = table.metadata.row_group(group).num_rows
        if row < count:
            batches = table.iter_batches(batch_size=1, row_groups=[group], columns=[column])
            batch = next(batch for number, batch in enumerate(batches) if number == row)
            value = batch.column(0)
            while value.type.num_fields:  # inside of a struct
                value = value.field(0)
            return value[0].as_buffer()
        row -= count
    return None


@dataclass(frozen=True)
class _Column:
    name: str
    leaf: str = ""  # text to read, in parquet's notation: "video.path" of a struct; "" if none
    stored: str = ""  # bytes of videos, likewise


def _wanted(table: Any, videos: set[str], captions: set[str]) -> list[_Column]:
    from pyarrow import types

    found = []
    for field in table.schema_arrow:
        key, kind = column_key(field.name), _value_type(field.type)
        is_binary = types.is_binary(kind) or types.is_large_binary(kind)
        is_text = types.is_string(kind) or types.is_large_string(kind) or types.is_null(kind)
        if (key in captions and (is_text or is_binary)) or (key in videos and is_text):
            found.append(_Column(field.name, leaf=field.name))
        elif key in videos and is_binary:
            is_path = _mean_bytes(table.metadata, field.name) <= MAX_PATH
            found.append(_Column(field.name, **{"leaf" if is_path else "stored": field.name}))
        elif key in videos and types.is_struct(kind):
            inner = {one.name: f"{field.name}.{one.name}" for one in kind}
            column = _Column(field.name, inner.get("path", ""), inner.get("bytes", ""))
            found += [column] if column.leaf or column.stored else []
    return found


def _value_type(kind: Any) -> Any:
    from pyarrow import types

    return kind.value_type if types.is_dictionary(kind) else kind


def _chunks(metadata: Any, leaf: str) -> Iterator[Any]:
    """Yield the metadata of a column in each row group."""
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        columns = (group.column(index) for index in range(group.num_columns))
        yield from (column for column in columns if column.path_in_schema == leaf)


def _mean_bytes(metadata: Any, leaf: str) -> float:
    total = sum(chunk.total_uncompressed_size for chunk in _chunks(metadata, leaf))
    return total / max(1, metadata.num_rows)


def _check_rows(metadata: Any, size: int, name: str) -> None:
    if metadata.num_rows > max(MAX_ROWS, size):
        raise InputError(
            f"{name} claims {metadata.num_rows:,} rows in {size:,} bytes, expected at most one row "
            "per byte: write it again without repeated rows"
        )


def _check_growth(metadata: Any, columns: list[_Column], name: str) -> None:
    for column in columns:
        for chunk in _chunks(metadata, column.leaf):
            grown, stored = chunk.total_uncompressed_size, chunk.total_compressed_size
            if grown > MIN_GROWN and grown > MAX_GROWTH * stored:
                raise InputError(
                    f"column {column.leaf} of {name} grows from {stored:,} to {grown:,} bytes, "
                    f"expected at most {MAX_GROWTH} times its size: write it again"
                )


def _rows(table: Any, columns: list[_Column]) -> Iterator[Row]:
    """Yield the rows; after damage, one row with the reason is the last."""
    start = 0
    try:
        for count, texts in _batches(table, columns):
            for row in range(start, start + count):
                yield _row(row, columns, [cells[row - start] for cells in texts])
            start += count
    except DAMAGE as error:
        reason = f"and all that follow cannot be read: {first_line(error)}"
        yield Row(start + 1, error=reason)


def _batches(table: Any, columns: list[_Column]) -> Iterator[tuple[int, list[list[Any]]]]:
    """Yield the number of rows of each batch, and its texts by column."""
    if not any(column.leaf for column in columns):
        yield table.metadata.num_rows, [[None] * table.metadata.num_rows for _ in columns]
        return
    leaves = [column.leaf for column in columns if column.leaf]
    groups = range(table.num_row_groups)  # one by one: pyarrow joins no nested dictionaries
    readers = (table.iter_batches(BATCH, row_groups=[group], columns=leaves) for group in groups)
    for batch in chain.from_iterable(readers):
        empty = [None] * batch.num_rows
        yield (
            batch.num_rows,
            [_cells(batch.column(c.name)) if c.leaf else empty for c in columns],
        )


def _cells(array: Any) -> list[Any]:
    """Return texts, None, or an InputError for a value that is none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_null(array.type):  # a column without any value
        return [None] * len(array)
    if pa.types.is_struct(array.type):
        array = pc.struct_field(array, [0])
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    sizes = pc.binary_length(array.dictionary).to_pylist()
    values = [_value(array.dictionary[index], size) for index, size in enumerate(sizes)]
    return [None if index is None else values[index] for index in array.indices.to_pylist()]


def _value(scalar: Any, size: int | None) -> Any:
    if size is not None and size > MAX_CELL:
        return InputError(f"has a text of {size:,} bytes, expected at most {MAX_CELL:,}")
    try:
        value = scalar.as_py()
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return InputError("has bytes that are not UTF-8 text")


def _row(row: int, columns: list[_Column], texts: list[Any]) -> Row:
    if error := next((text for text in texts if isinstance(text, InputError)), None):
        return Row(row + 1, error=str(error))
    values = (
        (column.name, StoredVideo(column.stored, row, text or "") if column.stored else text)
        for column, text in zip(columns, texts, strict=True)
    )
    return Row(row + 1, by_column(values))
