"""`hummingbird score`: score the quality of video files and list their defects."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import HummingbirdError, InputError, machine_advice, one_line
from ..terminal import print_error
from .score_output import CSV, JSON, Output, ScoreRow, Table

if TYPE_CHECKING:
    from ..vqa import DOVER

EPILOG = """\
examples:
  hummingbird score takes/*.mp4
  hummingbird score takes                           all videos in a folder, and in folders in it
  hummingbird score clip.mp4 --json
  hummingbird score takes/*.mp4 --csv > takes.csv
  hummingbird score clip.mp4 --dover DOVER.pth      technical, aesthetic and overall, 0 to 100

Without --dover no learned model is used, and those three scores are absent. DOVER's weights are
for non-commercial use only (CC BY-NC): download DOVER.pth or DOVER-Mobile.pth yourself from its
authors at https://github.com/VQAssessment/DOVER.
Several videos are scored at once, each by one thread, and each line is printed when its video is
done, so their order may vary. A file that cannot be read is reported and does not stop the others;
the exit code is then 2.
"""

FILES_PER_WORKER = 8  # below, a process takes longer to start than to do its share
RANDOM = "random"  # value of --seed for fragments that differ in each run

Outcome = tuple[ScoreRow, bool]  # the bool: a failure that is not the fault of the file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `hummingbird score`."""
    parser.epilog = EPILOG
    parser.add_argument(
        "files", nargs="+", type=Path, help="videos, folders of them, or of PNG frames"
    )
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
    parser.add_argument(
        "--workers",
        type=int,
        help=f"number of processes (default: the number of cores, but at least {FILES_PER_WORKER} "
        "files each; 1 with --dover)",
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
    files = [video for path in args.files for video in videos_in(path)]
    if args.dover:
        _check_dover(args)
    output, failed = _output(args, files), 0
    held_back: list[ScoreRow] = []  # while nothing proves that the machine can do the work
    try:
        for row, is_machines_fault in _rows(args, files):
            failed += "error" in row
            held_back.append(row)
            if output.count or not is_machines_fault:
                _print_all(output, held_back)
    except (HummingbirdError, KeyboardInterrupt):
        if output.count:
            _print_all(output, held_back)
            output.finish()
        raise
    _print_all(output, held_back)
    output.finish()
    return 2 if failed else 0


def videos_in(path: Path) -> list[Path]:
    """Return the videos at a path, sorted; `path` itself if it is one, or holds none.

    Args:
        path: a video, a folder of PNG frames, or a folder with videos and folders of either kind.
    """
    return sorted(_videos_below(path)) or [path] if path.is_dir() else [path]


def _videos_below(root: Path) -> Iterator[Path]:
    from ..curation.sources import VIDEO_SUFFIXES
    from ..inputs.names import walk

    of_frames: set[Path] = set()
    for folder in walk(root):
        if not of_frames.isdisjoint(folder.path.parents):
            continue
        if _has_frames(folder.path):
            of_frames.add(folder.path)
            yield folder.path
            continue
        for path in (*folder.files, *folder.unusable):  # the unusable fail later, by their names
            if path.suffix.lower() in VIDEO_SUFFIXES or path == folder.path:
                yield path


def _has_frames(folder: Path) -> bool:
    from ..video.frame_folder import frame_files

    try:
        return bool(frame_files(folder))
    except InputError:
        return False


def _output(args: argparse.Namespace, files: Sequence[Path]) -> Output:
    if args.json:
        return JSON()
    return CSV() if args.csv else Table(files, learned=args.dover is not None)


def _print_all(output: Output, rows: list[ScoreRow]) -> None:
    """Print rows, and take them off the list."""
    while rows:
        output.add(rows.pop(0))


def _rows(args: argparse.Namespace, files: Sequence[Path]) -> Iterator[Outcome]:
    """Yield the outcome of each file as it comes, with a progress bar on a terminal."""
    from tqdm import tqdm

    from ..engines.failures import FailureStreak
    from ..vqa.dover import DEFAULT_SEED

    workers = _workers(args, len(files))
    seed = {None: DEFAULT_SEED, RANDOM: None}.get(args.seed, args.seed)
    is_alone = workers == 1 and args.dover is not None
    scoring = Scoring(args.dover, args.device, seed, one_thread=not is_alone)
    streak = FailureStreak("files")
    with tqdm(total=len(files), unit="video", disable=None, leave=False) as bar:
        for row, is_machines_fault in _outcomes(files, scoring, workers):
            with bar.external_write_mode():
                yield row, is_machines_fault
            bar.update()
            if is_machines_fault:
                streak.failed(row["file"], row["error"])
            elif "error" not in row:
                streak.succeeded()
    streak.finish(len(files))


def _workers(args: argparse.Namespace, count: int) -> int:
    if args.workers is None:
        possible = min(os.cpu_count() or 1, count // FILES_PER_WORKER)
        return 1 if args.dover else max(1, possible)
    if args.workers < 1:
        raise InputError(f"got {args.workers} workers, expected at least 1")
    return args.workers


def _outcomes(files: Sequence[Path], scoring: Scoring, workers: int) -> Iterator[Outcome]:
    from ..engines.local import LocalEngine

    stage = partial(score_or_report, scoring=scoring)
    if workers == 1:
        yield from map(stage, files)
        return
    for _, outcome in LocalEngine(workers).map(stage, files, _worker_died):
        yield outcome


def _worker_died(path: Path) -> Outcome:
    from ..engines.local import WORKER_DIED

    return {"file": str(path), "error": WORKER_DIED}, True


@dataclass(frozen=True)
class Scoring:
    """Settings of scoring.

    Attributes:
        dover: file with DOVER's weights; None: no learned scores.
        device: of DOVER.
        seed: of DOVER's fragments; None: another for each file.
        one_thread: whether torch computes in one thread. The measures are many small operations:
            on a busy machine, a second thread more than doubles what they cost.
    """

    dover: Path | None
    device: str
    seed: int | None
    one_thread: bool


def score_or_report(path: Path, scoring: Scoring) -> Outcome:
    """Score one file: the stage that an engine runs."""
    from ..devices import one_thread
    from ..vqa import find_defects, score_file

    try:
        dover = _load_dover(scoring.dover, scoring.device) if scoring.dover else None
        with one_thread() if scoring.one_thread else nullcontext():
            score = score_file(path, dover=dover, seed=scoring.seed)
    except (HummingbirdError, OSError) as error:
        reason = machine_advice(error) or one_line(error)
        return {"file": str(path), "error": reason}, not isinstance(error, InputError)
    return {"file": str(path), "faults": find_defects(score), **score.to_dict()}, False


def _check_dover(args: argparse.Namespace) -> None:
    """Load DOVER, so that wrong weights end the command before the first video."""
    from ..vqa import WEIGHTS_LICENSE

    _load_dover(args.dover, args.device)
    print_error(WEIGHTS_LICENSE)


@lru_cache(maxsize=1)
def _load_dover(weights: Path, device: str) -> DOVER:
    from ..devices import check_device
    from ..vqa import load_dover

    return load_dover(weights, device=check_device(device))
