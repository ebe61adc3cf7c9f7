"""Tables that people give, as CSV or as lines of JSON: a broken row costs itself only.

Names of columns are compared without regard to case and surrounding blanks, see `column_key`.
"""

from __future__ import annotations

import csv
import io
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

from ..errors import InputError, first_line
from .json_text import parse_json
from .text import open_text, reason_not_text

MAX_LINE = 1 << 20  # characters
MAX_BLANK_LINES = 10_000  # one after the other
MAX_ROW_LINES = 100  # of a row with line ends in quotes: a quote left open would take all the rest
DELIMITERS = (",", ";", "\t")  # spreadsheets write semicolons where the comma separates decimals


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        number: 1 for the first row after the header.
        values: by `column_key`.
        error: reason why the row cannot be used; "" if it can.
    """

    number: int
    values: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True)
class Table:
    """An open table.

    Attributes:
        rows: an iterator for one pass.
        columns: description of each usable column by its key; those of the first row in lines of
            JSON, where rows may differ.
        unusable: descriptions of columns whose values cannot be used, by key.
        repeated: keys of columns that stand there twice; a row's value is the first non-empty one.
    """

    rows: Iterator[Row]
    columns: Mapping[str, str]
    unusable: Mapping[str, str] = field(default_factory=dict)
    repeated: tuple[str, ...] = ()

    def describe(self) -> str:
        """Return all columns in one line, for an error."""
        names = [*self.columns.values(), *self.unusable.values()]
        return f"the columns {', '.join(names)}"[:200] if any(names) else "no columns"


def column_key(name: Any) -> str:
    """Return the form in which names of columns are compared."""
    return str(name).strip().casefold()


def by_column(pairs: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
    """Return values by `column_key`; of two columns with one key the first non-empty value."""
    return _by_key((column_key(name), value) for name, value in pairs)


def _by_key(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if values.get(key) in (None, ""):
            values[key] = value
    return values


@contextmanager
def open_csv(path: Path, known: Collection[str]) -> Iterator[Table]:
    """Open a CSV file for one pass over its rows.

    Args:
        path: UTF-8, or another encoding with a byte order mark.
        known: keys of columns; they show which delimiter the table has.

    Raises:
        InputError: the file or its header cannot be read.
    """
    with _open_lines(path) as lines:
        names, options = _read_header(lines, path.name, known)
        keys = [column_key(name) for name in names]
        yield Table(
            _csv_rows(lines, keys, options),
            dict(zip(keys, names, strict=True)),
            repeated=tuple(key for key, count in Counter(keys).items() if key and count > 1),
        )


@contextmanager
def open_jsonl(path: Path) -> Iterator[Table]:
    """Open a file with one JSON object per line for one pass over its rows.

    Args:
        path: UTF-8, or another encoding with a byte order mark.

    Raises:
        InputError: the file cannot be read.
    """
    with _open_lines(path) as lines:
        rows = _json_rows(lines)
        first = [*islice(rows, 1)]
        columns = {key: key for row in first for key in row.values}
        yield Table(chain(first, rows), columns)


@dataclass(frozen=True)
class _Line:
    text: str
    error: str = ""


class _Lines:
    """The lines of a file with their ends, some of which may be put back."""

    def __init__(self, file: io.TextIOWrapper) -> None:
        self._file = file
        self._back: deque[_Line] = deque()
        self._is_over = False

    def __iter__(self) -> Iterator[_Line]:
        while line := self._next():
            yield line

    def filled(self) -> Iterator[_Line]:
        """Yield the lines with text in them; too many others end the table with a reason."""
        blank = 0
        while line := self._next():
            if line.error or line.text.strip():
                blank = 0
                yield line
            elif (blank := blank + 1) == MAX_BLANK_LINES:
                self._is_over = True
                yield _Line("", f"and {MAX_BLANK_LINES:,} that follow are blank: shorten the file")

    def put_back(self, lines: Iterable[_Line]) -> None:
        self._back.extendleft(reversed([*lines]))

    def _next(self) -> _Line | None:
        if self._back:
            return self._back.popleft()
        if self._is_over:
            return None
        try:
            text = self._file.readline(MAX_LINE)
            error = self._skip_rest(text)
        except (OSError, ValueError) as failure:  # ValueError: damaged UTF-16
            self._is_over = True
            return _Line("", f"and all that follow cannot be read: {first_line(failure)}")
        self._is_over = not text
        return _Line(text, error or reason_not_text(text)) if text else None

    def _skip_rest(self, text: str) -> str:
        """Read the rest of a line that is too long, in the memory of a part of it."""
        if len(text) < MAX_LINE:
            return ""
        while text and not text.endswith(("\n", "\r")):
            text = self._file.readline(MAX_LINE)
        return f"has a line of more than {MAX_LINE:,} characters"


@contextmanager
def _open_lines(path: Path) -> Iterator[_Lines]:
    try:
        file = path.open("rb")
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {first_line(error)}") from error
    with file, open_text(file) as text:
        yield _Lines(text)


def _json_rows(lines: _Lines) -> Iterator[Row]:
    for number, line in enumerate(lines.filled(), start=1):
        if line.error:
            yield Row(number, error=line.error)
            continue
        try:
            value = parse_json(line.text, "")
        except InputError as error:
            yield Row(number, error=str(error).strip())
            continue
        if isinstance(value, dict):
            yield Row(number, by_column(value.items()))
        else:
            yield Row(number, error="is no JSON object, expected one per line")


def _csv_rows(lines: _Lines, keys: list[str], options: Mapping[str, Any]) -> Iterator[Row]:
    named = max((n for n, key in enumerate(keys, start=1) if key), default=0)
    for number, (cells, error) in enumerate(_records(lines, options), start=1):
        error = error or _wrong_count(cells, len(keys), named)
        yield Row(number, {} if error else _by_key(zip(keys, cells, strict=False)), error)


def _wrong_count(cells: list[str], columns: int, named: int) -> str:
    """Return why a row has too many or too few cells; those after the last name may be left out."""
    if any(cells[columns:]):
        advice = "put quotes around text that holds the delimiter"
    elif len(cells) < named:
        advice = "put a delimiter for each cell that is empty"
    else:
        return ""
    return f"has {len(cells)} cells, expected {columns} as in the header: {advice}"


def _read_header(
    lines: _Lines, name: str, known: Collection[str]
) -> tuple[list[str], dict[str, Any]]:
    """Return the names of the columns, and the options of `csv.reader` for the rows.

    Raises:
        InputError: the header is no text, or no CSV.
    """
    line = next(lines.filled(), _Line(""))
    if line.error:
        raise InputError(f"the header of {name} {line.error}: save it as UTF-8")
    try:
        rows = {mark: next(csv.reader([line.text], delimiter=mark), []) for mark in DELIMITERS}
    except csv.Error as error:
        raise InputError(f"the header of {name} is no CSV ({error}): check its quotes") from error
    fitting = (mark for mark, names in rows.items() if {*known} & {*map(column_key, names)})
    delimiter = next(fitting, DELIMITERS[0])
    names = rows[delimiter]
    has_blanks = any(one.startswith(" ") for one in names[1:])  # as in "video, caption"
    return names, {"delimiter": delimiter, "skipinitialspace": has_blanks}


def _records(lines: _Lines, options: Mapping[str, Any]) -> Iterator[tuple[list[str], str]]:
    """Yield the cells of each row, or why it is broken; the next row then starts a line later."""
    for first in lines.filled():
        taken: list[_Line] = []
        cells, error = _parse(first, lines, taken, options)
        if error:
            lines.put_back(taken[1:])
        if error or any(map(str.strip, cells)):
            yield cells, error


def _parse(
    first: _Line, lines: Iterable[_Line], taken: list[_Line], options: Mapping[str, Any]
) -> tuple[list[str], str]:
    def feed() -> Iterator[str]:
        for line in chain([first], lines):
            taken.append(line)
            if line.error or len(taken) > MAX_ROW_LINES:
                raise csv.Error(line.error or f"has more than {MAX_ROW_LINES} lines")
            yield line.text

    try:
        return next(csv.reader(feed(), strict=True, **options)), ""
    except csv.Error as error:
        reason = first_line(error)
        if "field limit" in reason:  # of the csv module
            reason = f"has a cell of more than {csv.field_size_limit():,} characters"
        is_ours = taken[-1].error == reason or reason.startswith("has ")
        return [], reason if is_ours else f"is no CSV ({reason}): check its quotes"
