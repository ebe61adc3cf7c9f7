"""The table of records: how little training makes how good a student of few steps.

    hummingbird train tune ... -o runs/tune
    hummingbird evaluate nano --model runs/tune/student.safetensors --steps 1 -o outputs/one
    hummingbird evaluate nano --model runs/tune/student.safetensors --steps 2 -o outputs/two
    hummingbird evaluate nano --model runs/tune/student.safetensors --steps 4 -o outputs/four
    python benchmarks/scripts/records.py --run runs/distil runs/tune \
        --evaluation outputs/one.json outputs/two.json outputs/four.json \
        --change "tuned on its own samples" --command "hummingbird train tune ..." \
        -o benchmarks/results/records

adds a row to OUTPUT.json, writes the table OUTPUT.md, and keeps recipes and curves of the runs as
its log, OUTPUT/DATE-CHANGE.json. Without --run it only writes the table again. Runs that are not
finished and records that lack something are refused, and nothing is written.

Seconds of training are the sum over all steps of all runs, without validation and saving; --before
names losses of earlier stages, such as those of `train nano`, that count too. The diversity is that
of the last run's last validation: the distance between seeds, as a share of the teacher's.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from statistics import fmean
from typing import Any

from training_curves import read_curves

from hummingbird_core.errors import InputError
from hummingbird_core.files import atomic_write, slug
from hummingbird_core.inputs.json_text import read_json
from hummingbird_core.training.distillation.recipe_files import record_mapping
from hummingbird_core.training.distillation.run_record import PROVENANCE, RECIPE
from hummingbird_core.training.distillation.seed_diversity import TEACHER_STEP
from hummingbird_core.training.loop.progress import read_losses

STEPS = ("1", "2", "4")  # of sampling, that a record has to have
HEADS = ("date", "what changed", "seconds of training")
MORE_HEADS = (*(f"right in {n} step{'s' * (n != '1')}" for n in STEPS), "diversity", "log")
TITLE = """\
Accuracy is the share of held-out prompts of which a video shows everything; diversity the
distance between two seeds of a prompt, as a share of the teacher's. "not measured" and "not
recorded" are gaps, not zeros. `benchmarks/scripts/records.py` adds rows.

Rows of the old world are of a dataset of one picture or shape a clip, judged by its readers; rows
without this mark are of the world of scenes."""


@dataclass(frozen=True)
class Record:
    """A row.

    Attributes:
        date: ISO date.
        change: what is new about the model.
        seconds: of all steps of its training; None: not recorded.
        accuracy: share of prompts with everything right, by number of sampling steps and kind.
        prompts: of each kind.
        diversity: distance between seeds as a share of the teacher's; None: not measured.
        diversity_steps: sampling steps that the diversity was measured with.
        log: files with recipes and curves, relative to the table.
        command: of the training.
    """

    date: str
    change: str
    seconds: float | None
    accuracy: dict[str, dict[str, float]]
    prompts: int
    diversity: float | None
    diversity_steps: int | None
    log: list[str]
    command: str


# --- What was recorded ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """A finished run of `train distil` or `train tune`."""

    folder: Path
    recipe: dict[str, Any]
    losses: Path
    lines: list[dict[str, Any]]


def read_run(folder: Path) -> Run:
    """Read the record of a run; raise InputError unless it is finished and complete."""
    recipes = sorted(folder.glob("recipe*.yaml"), key=lambda path: (path.name != RECIPE, path))
    losses = sorted(folder.glob("*.losses.jsonl"))
    if not recipes or len(losses) != 1:
        raise InputError(
            f"got {folder} with {len(recipes)} recipes and {len(losses)} losses files, expected "
            "the folder of one run of train distil or tune"
        )
    recipe = record_mapping(recipes[-1].read_text(encoding="utf-8"), str(recipes[-1]))
    lines = read_steps(losses[0])
    steps = (recipe.get("training") or {}).get("steps")
    if len(lines) != steps:
        raise InputError(
            f"got {folder}, which has done {len(lines)} of {steps} steps, expected a finished run: "
            "go on with it first"
        )
    return Run(folder, recipe, losses[0], lines)


def read_steps(path: Path) -> list[dict[str, Any]]:
    """Read a losses file; raise InputError unless all steps are there, timed, and end well."""
    try:
        lines = read_losses(path)
        numbers = [line["step"] for line in lines]
        timed = all(isinstance(line["seconds"], int | float) for line in lines)
        ends_well = bool(lines) and isinstance(lines[-1]["loss"], int | float)
    except KeyError as error:
        raise InputError(
            f"got {path} without {error}, expected it in every step: train with this version"
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"got {path}, which cannot be read ({error})") from error
    if not lines or numbers != list(range(len(lines))) or not timed:
        raise InputError(f"got {path} with steps missing, expected all from 0 on")
    if not ends_well:
        raise InputError(f"got {path}, whose last loss is {lines[-1]['loss']}, expected a number")
    return lines


@dataclass(frozen=True)
class Evaluation:
    """Accuracy by steps and kind of prompt, as `hummingbird evaluate nano -o` has written it."""

    settings: tuple[Any, ...]
    prompts: int
    accuracy: dict[str, dict[str, float]]


def read_evaluation(path: Path) -> Evaluation:
    """Read an evaluation with one number of steps, or with several."""
    record = read_json(path)
    try:
        if isinstance(record["steps"], dict):
            by_steps = {
                steps: {name: each["accuracy"] for name, each in kinds.items() if _judges(each)}
                for steps, kinds in record["steps"].items()
            }
        else:
            by_steps = {str(record["steps"]): record["accuracy"]}
        accuracy = {
            steps: {name: float(each["joint"]) for name, each in kinds.items()}
            for steps, kinds in by_steps.items()
        }
        settings = tuple(record[key] for key in ("model", "prompts", "guidance", "frames"))
        prompts = int(record["prompts"])
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"got {path} without {error}, expected what hummingbird evaluate nano -o writes"
        ) from error
    values = [value for kinds in accuracy.values() for value in kinds.values()]
    if not values or not all(0 <= value <= 1 for value in values):
        raise InputError(f"got {path} with accuracies {values}, expected shares from 0 to 1")
    return Evaluation(settings, prompts, accuracy)


def _judges(part: object) -> bool:
    # Only prompts have intervals; words have accuracies as well.
    return isinstance(part, dict) and "interval" in part


def read_evaluations(paths: Sequence[Path]) -> Evaluation:
    """Read the evaluations of one model with 1, 2 and 4 steps, in one file or in several."""
    found = [read_evaluation(path) for path in paths]
    if len({each.settings for each in found}) > 1:
        raise InputError(
            f"got evaluations of {', '.join(str(each.settings) for each in found)}, expected one "
            "model with the same prompts, guidance and frames in all"
        )
    accuracy = {steps: kinds for each in found for steps, kinds in each.accuracy.items()}
    missing = [steps for steps in STEPS if steps not in accuracy]
    if missing:
        raise InputError(
            f"got evaluations of {', '.join(accuracy) or 'no'} steps, expected also "
            f"{', '.join(missing)}: run hummingbird evaluate nano --steps {missing[0]}"
        )
    return Evaluation(found[0].settings, found[0].prompts, accuracy)


def read_diversity(run: Run) -> tuple[float, int]:
    """Return the last distance between seeds as a share of the teacher's, and its steps."""
    path = run.folder / "diversity.jsonl"
    try:
        distances = {line["step"]: fmean(line["seed_distance"]) for line in read_losses(path)}
        share = distances[len(run.lines)] / distances[TEACHER_STEP]
        return share, int(run.recipe["validation"]["num_inference_steps"])
    except (OSError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise InputError(
            f"got {path} without the distances of the teacher and of the last step, expected "
            "validation.prompts and validation.seeds in the recipe"
        ) from error


# --- The table ------------------------------------------------------------------------------------


def read_table(path: Path) -> list[Record]:
    """Read the rows so far; none if there is no file."""
    if not path.exists():
        return []
    try:
        return [Record(**row) for row in read_json(path)["rows"]]
    except (LookupError, TypeError) as error:
        raise InputError(f"got {path}, which is no table of records ({error}): mend it") from error


def table(rows: Sequence[Record]) -> str:
    """Return the rows as Markdown, with the commands below."""
    heads = [*HEADS, *MORE_HEADS]
    lines = [heads, ["---"] * len(heads), *(_cells(row) for row in rows)]
    text = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    commands = "".join(f"- {row.date}, {row.change}: `{row.command}`\n" for row in rows)
    return f"# Records\n\n{TITLE}\n\n{text}\n{commands}"


def _cells(row: Record) -> list[str]:
    seconds = "not recorded" if row.seconds is None else f"{row.seconds:,.0f}"
    rights = [_accuracy(row.accuracy.get(steps, {}), row.prompts) for steps in STEPS]
    diversity = "not measured"
    if row.diversity is not None:
        diversity = f"{row.diversity:.2f} in {row.diversity_steps} steps"
    log = ", ".join(f"[{Path(path).stem}]({path})" for path in row.log)
    return [row.date, row.change.replace("|", "/"), seconds, *rights, diversity, log]


def _accuracy(kinds: dict[str, float], prompts: int) -> str:
    shares = ", ".join(f"{name} {value:.1%}" for name, value in kinds.items())
    return f"{shares} of {prompts}" if shares else "not measured"


def new_record(args: argparse.Namespace) -> tuple[Record, dict[str, Any]]:
    """Return the row of the finished runs in `args`, and its log."""
    runs = [read_run(folder) for folder in args.run]
    earlier = {path.name: read_steps(path) for path in args.before}
    evaluation = read_evaluations(args.evaluation)
    diversity, diversity_steps = read_diversity(runs[-1])
    steps = [line for run in runs for line in run.lines]
    steps += [line for lines in earlier.values() for line in lines]
    name = f"{args.date}-{slug(args.change)}"
    record = Record(
        date=args.date,
        change=args.change,
        seconds=round(sum(line["seconds"] for line in steps), 1),
        accuracy=evaluation.accuracy,
        prompts=evaluation.prompts,
        diversity=round(diversity, 4),
        diversity_steps=diversity_steps,
        log=[f"{args.output.name}/{name}.json"],
        command=args.command,
    )
    return record, {"runs": [_log(run) for run in runs], "before": list(earlier)}


def _log(run: Run) -> dict[str, Any]:
    """Return recipe, hashes of teacher and student, and curves, without paths of the machine."""
    origins = read_json(run.folder / PROVENANCE)
    hashes = {name: origins.get(name) for name in ("teacher", "student")}
    return {"recipe": run.recipe, "origins": hashes, "curves": read_curves(run.losses)}


def write(output: Path, rows: Sequence[Record], log: dict[str, Any] | None = None) -> None:
    """Write the table, and the log of its last row."""
    texts = {
        output.with_suffix(".json"): json.dumps({"rows": [asdict(r) for r in rows]}, indent=2),
        output.with_suffix(".md"): table(rows).rstrip("\n"),
    }
    if log is not None:
        texts = {output.parent / rows[-1].log[0]: json.dumps(log), **texts}
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, nargs="+", default=[], help="folders, in order")
    parser.add_argument("--before", type=Path, nargs="+", default=[], help="losses of other stages")
    parser.add_argument("--evaluation", type=Path, nargs="+", default=[], help="1, 2 and 4 steps")
    parser.add_argument("--change", default="", help="what is new, in a few words")
    parser.add_argument("--command", default="", help="that trained the model")
    parser.add_argument("--date", default=date.today().isoformat(), help="default: today")
    parser.add_argument("-o", "--output", type=Path, required=True, help="writes .json and .md")
    args = parser.parse_args(arguments)
    try:
        rows = read_table(args.output.with_suffix(".json"))
        if not args.run:
            write(args.output, rows)
            return
        for option in ("evaluation", "change", "command"):
            if not getattr(args, option):
                raise InputError(f"got --run without --{option}, expected all of a record")
        record, log = new_record(args)
        if record.log in [row.log for row in rows]:
            raise InputError(f"got {record.log[0]} again, expected another --change or --date")
    except (InputError, OSError) as error:
        sys.exit(f"error: {error}")
    write(args.output, [*rows, record], log)


if __name__ == "__main__":
    main()
