"""`hummingbird score`: score the quality of video files and list their defects."""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import HummingbirdError, InputError, machine_advice, one_line, printable
from ..terminal import print_error, print_text

EPILOG = """\
examples:
  hummingbird score takes/*.mp4
  hummingbird score clip.mp4 --json
  hummingbird score takes/*.mp4 --csv > takes.csv
  hummingbird score clip.mp4 --dover DOVER.pth      technical, aesthetic and overall, 0 to 100

Without --dover no learned model is used, and those three scores are absent. DOVER's weights are
for non-commercial use only (CC BY-NC): download DOVER.pth or DOVER-Mobile.pth yourself from its
authors at https://github.com/VQAssessment/DOVER.
A file that cannot be read is reported and does not stop the others; the exit code is then 2.
"""

# Columns of the table; --json and --csv print all scores.
COLUMNS = ("overall", "motion", "motion_smoothness", "flicker", "blur", "blockiness", "cuts")

RANDOM = "random"  # value of --seed for fragments that differ in each run

# "file", then either the scores and "faults", the names of the defects, or "error". The output key
# "faults" is a file format that other programs read: it stays.
ScoreRow = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `hummingbird score`."""
    parser.epilog = EPILOG
    parser.add_argument("files", nargs="+", type=Path, help="videos, or folders of PNG frames")
    parser.add_argument(
        "--dover", metavar="FILE", type=Path, help="weights of DOVER or DOVER-Mobile"
    )
    parser.add_argument("--device", default="cpu", help="for DOVER: cpu, cuda ...")
    parser.add_argument(
        "--seed",
        type=_seed,
        help=f"seed of DOVER's fragments; {RANDOM!r}: different in each run, as in the original "
        "(default: the authors')",
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="print all scores as one JSON list")
    how.add_argument("--csv", action="store_true", help="print all scores, one line per file")


def _seed(text: str) -> int | str:
    if text == RANDOM:
        return text
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"got {text!r}, expected a whole number or {RANDOM!r}"
        ) from error


def run(args: argparse.Namespace) -> int:
    """Score all files; return 2 if some could not be read.

    Raises:
        HummingbirdError: everything fails for one reason that does not lie in the files. What was
            scored before is printed.
    """
    rows: list[ScoreRow] = []
    try:
        for row in _rows(args):
            rows.append(row)
    except HummingbirdError:
        if any("error" not in row for row in rows):
            _print(rows, args)
        raise
    _print(rows, args)
    return 2 if any("error" in row for row in rows) else 0


def _print(rows: list[ScoreRow], args: argparse.Namespace) -> None:
    if args.json:
        print_text(json.dumps(rows, indent=2))
    elif args.csv:
        _print_csv(rows)
    else:
        print_text("\n".join(_table(rows)))


def _rows(args: argparse.Namespace) -> Iterator[ScoreRow]:
    """Yield a row for each file, with a progress bar on a terminal."""
    from tqdm import tqdm

    from ..engines.failures import FailureStreak
    from ..vqa import find_defects, score_file
    from ..vqa.dover.views import DEFAULT_SEED

    dover = _load_dover(args) if args.dover else None
    seed = {None: DEFAULT_SEED, RANDOM: None}.get(args.seed, args.seed)
    streak = FailureStreak("files")
    for path in tqdm(args.files, unit="video", disable=None, leave=False):
        try:
            score = score_file(path, dover=dover, seed=seed)
        except (HummingbirdError, OSError) as error:
            yield {"file": str(path), "error": machine_advice(error) or one_line(error)}
            if not isinstance(error, InputError):
                streak.failed(str(path), str(error))
        else:
            streak.succeeded()
            yield {"file": str(path), "faults": find_defects(score), **score.to_dict()}
    streak.finish(len(args.files))


def _load_dover(args: argparse.Namespace) -> Any:
    from ..devices import check_device
    from ..vqa import WEIGHTS_LICENSE, load_dover

    model = load_dover(args.dover, device=check_device(args.device))
    print_error(WEIGHTS_LICENSE)
    return model


def _print_csv(rows: list[ScoreRow]) -> None:
    from ..vqa import Score

    names = ["file", "faults", *Score.__dataclass_fields__, "error"]
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        shown = {"file": printable(row["file"]), "faults": " ".join(row.get("faults", []))}
        writer.writerow({**row, **shown})
    print_text(text.getvalue().rstrip("\n"))


def _table(rows: list[ScoreRow]) -> Iterator[str]:
    shown = [name for name in COLUMNS if any(name in row for row in rows)]
    files = [printable(row["file"]) for row in rows]
    width = max(len("file"), *map(len, files))
    titles = [name.replace("motion_smoothness", "smoothness") for name in shown]
    yield "  ".join([f"{'file':{width}}", *(f"{title:>10}" for title in titles), "faults"])
    for file, row in zip(files, rows, strict=True):
        if "error" in row:
            yield f"{file:{width}}  cannot be scored: {row['error']}"
            continue
        cells = (_cell(row.get(name)) for name in shown)
        found = ", ".join(row["faults"]) or "none"
        yield "  ".join([f"{file:{width}}", *(f"{cell:>10}" for cell in cells), found])


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
