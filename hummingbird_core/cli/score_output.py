"""The output of `hummingbird score`: a table, CSV or JSON, printed line by line."""

from __future__ import annotations

import csv
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..errors import printable
from ..terminal import print_line, print_text

# Columns of the table; --json and --csv print all scores.
COLUMNS = ("motion", "motion_smoothness", "flicker", "blur", "blockiness", "cuts")
LEARNED_COLUMN = "overall"
INDENT = 2  # spaces, of JSON

# "file", then either the scores and "faults", the names of the defects, or "error". The output key
# "faults" is a file format that other programs read: it stays.
ScoreRow = dict[str, Any]


class Output(ABC):
    """Prints rows in one format; nothing before the first row."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, row: ScoreRow) -> None:
        """Print a row."""
        if not self.count:
            self.begin()
        self.count += 1
        self.print_row(row)

    @abstractmethod
    def begin(self) -> None:
        """Print what comes before the first row."""

    @abstractmethod
    def print_row(self, row: ScoreRow) -> None:
        """Print a row."""

    def finish(self) -> None:  # noqa: B027 - most formats end with their last row
        """Print what ends the output."""


class Table(Output):
    """A table for people.

    Args:
        files: all that will be scored, for the width of their column.
        learned: whether there are learned scores.
    """

    def __init__(self, files: Sequence[Path], *, learned: bool) -> None:
        super().__init__()
        self.columns = (LEARNED_COLUMN, *COLUMNS) if learned else COLUMNS
        self.width = max(len("file"), *(len(printable(str(file))) for file in files))

    def begin(self) -> None:
        """Print the titles."""
        titles = [name.replace("motion_smoothness", "smoothness") for name in self.columns]
        cells = (f"{title:>10}" for title in titles)
        print_line("  ".join([f"{'file':{self.width}}", *cells, "faults"]))

    def print_row(self, row: ScoreRow) -> None:
        """Print a row, or why there is none."""
        file = f"{printable(row['file']):{self.width}}"
        if "error" in row:
            print_line(f"{file}  cannot be scored: {row['error']}")
            return
        cells = (f"{_cell(row.get(name)):>10}" for name in self.columns)
        print_line("  ".join([file, *cells, ", ".join(row["faults"]) or "none"]))


class CSV(Output):
    """All scores, with the same columns for all files."""

    def begin(self) -> None:
        """Print the titles."""
        self._print(lambda writer: writer.writeheader())

    def print_row(self, row: ScoreRow) -> None:
        """Print a row; unknown scores are empty."""
        shown = {"file": printable(row["file"]), "faults": " ".join(row.get("faults", []))}
        self._print(lambda writer: writer.writerow({**row, **shown}))

    def _print(self, write: Callable[[csv.DictWriter[str]], object]) -> None:
        from ..vqa import Score

        names = ["file", "faults", *Score.__dataclass_fields__, "error"]
        text = io.StringIO()
        write(csv.DictWriter(text, names, lineterminator="\n"))
        print_text(text.getvalue().rstrip("\n"))


class JSON(Output):
    """One list of all scores; a row is printed when it is known whether a comma follows."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: str | None = None

    def begin(self) -> None:
        """Print the start of the list."""
        print_line("[")

    def print_row(self, row: ScoreRow) -> None:
        """Print the row before this one."""
        if self.waiting is not None:
            print_text(f"{self.waiting},")
        lines = json.dumps(row, indent=INDENT).split("\n")
        self.waiting = "\n".join(" " * INDENT + line for line in lines)

    def finish(self) -> None:
        """Print the last row and the end of the list."""
        if self.waiting is None:
            print_line("[]")
        else:
            print_text(f"{self.waiting}\n]")


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
