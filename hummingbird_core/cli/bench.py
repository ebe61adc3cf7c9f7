"""`hummingbird bench`: speed and memory, with a check that all results are equal."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..terminal import print_line, print_text

if TYPE_CHECKING:
    from ..bench.models import BenchConfig
    from ..bench.report import Report

EPILOG = """\
tables:
  speed      from prompt to file: teacher with 50 guided steps, student with 1, 2, 4 and 8
  modules    our modules against a plain reference with the same weights
  compile    the U-Net with torch.compile, on a GPU with CUDA graphs, against the eager U-Net
  memory     peak memory of every setting
  decoders   the full VAE decoder against the small ones
  growth     time and memory against frames, size and batch
  devices    memory and time of every way to save memory

examples:
  hummingbird bench speed --frames 16 26
  hummingbird bench modules --preset hummingbird-0.7b --size 128x128 --repeats 1
  hummingbird bench devices --preset hummingbird-0.7b
  hummingbird bench compile --device cuda --dtype fp16
  on a CPU a full-size teacher takes hours for 50 steps; the table says so if they are fewer:
    hummingbird bench speed --preset hummingbird-0.7b --size 160x256 --teacher-steps 2
        --student-steps 4 --repeats 1 --warm-up 0

The model is the built-in one, or any preset with random weights: time and memory do not depend on
the weights. Each table is written as JSON, as Markdown and as a plot (which needs matplotlib); the
file names contain size, precision and device where they are not the default. A speed is reported
only after the results of both methods were found to be equal. A case that does not fit into memory
gets a row that says so.
"""
TABLES = ("speed", "modules", "compile", "decoders", "memory", "growth", "devices")
REPEATED = ("speed", "modules", "compile", "decoders", "growth")
# Option -> its default, and the tables that use it.
USED_BY: dict[str, tuple[Any, tuple[str, ...]]] = {
    "teacher_steps": (50, ("speed",)),
    "student_steps": ([1, 2, 4, 8], ("speed",)),
    "dtype": ("fp32", tuple(table for table in TABLES if table != "devices")),
    "repeats": (3, REPEATED),  # the other tables measure once, in a fresh process
    "warm_up": (1, REPEATED),
}
MIN_SECONDS = 0.5  # per measurement
BENCH_PRESETS = ("nano", "hummingbird-0.7b", "hummingbird-0.9b")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `hummingbird bench`."""
    parser.epilog = EPILOG
    parser.add_argument("table", choices=TABLES, help="what to measure")
    parser.add_argument("--preset", choices=BENCH_PRESETS, default="nano", help="the model")
    parser.add_argument("--size", metavar="HEIGHTxWIDTH", help="pixels (default: the model's)")
    parser.add_argument(
        "--frames", type=int, nargs="+", default=[16], help="frames; several for speed"
    )
    parser.add_argument("--batch", type=int, default=1, help="videos per batch")
    _add_optional(parser, "teacher_steps", "steps of the teacher", type=int)
    _add_optional(parser, "student_steps", "steps of the student", type=int, nargs="+")
    _add_optional(parser, "dtype", "precision", choices=("fp32", "bf16", "fp16"))
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1 ...")
    _add_optional(parser, "repeats", "minimum number of measured runs", type=int)
    _add_optional(parser, "warm_up", "runs before the measured ones", type=int)
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and inputs")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("outputs/bench"), help="output folder"
    )


def _add_optional(parser: argparse.ArgumentParser, name: str, text: str, **options: Any) -> None:
    """Add an option of `USED_BY`: None unless given, so that `_fill_in` can refuse it."""
    default, tables = USED_BY[name]
    parser.add_argument(
        f"--{name.replace('_', '-')}",
        help=f"{text}, for {', '.join(tables)} (default: {default})",
        **options,
    )


def run(args: argparse.Namespace) -> None:
    """Measure one table, write it and print it."""
    from ..bench.report import write_bench_report

    _fill_in(args)
    report = _measure(args, _settings(args))
    written = write_bench_report(report, args.output)  # first: a closed pipe must not lose it
    print_text(report.to_markdown())
    for path in written:
        print_line(f"wrote {path}")


def _measure(args: argparse.Namespace, settings: BenchConfig) -> Report:
    from ..bench.measure import Repeats

    table = importlib.import_module(f"..bench.{args.table}", package=__package__)
    repeats = Repeats(args.repeats, args.warm_up, MIN_SECONDS)
    return table.report(settings, repeats, _command(args))


def _fill_in(args: argparse.Namespace) -> None:
    """Set the defaults of options that were not given.

    Raises:
        InputError: an option was given that the table does not use.
    """
    for option, (default, tables) in USED_BY.items():
        if getattr(args, option) is None:
            setattr(args, option, default)
        elif args.table not in tables:
            raise InputError(
                f"got --{option.replace('_', '-')} for the table {args.table}, expected it only "
                f"for {', '.join(tables)}: leave it out"
            )
    if len(args.frames) > 1 and args.table != "speed":
        raise InputError(
            f"got --frames {' '.join(map(str, args.frames))} for the table {args.table}, expected "
            "one number: only speed measures several"
        )


def _settings(args: argparse.Namespace) -> BenchConfig:
    from ..bench.models import BenchConfig

    height, width = _size(args.size) if args.size else (None, None)
    counts = (*args.frames, args.batch, args.teacher_steps, *args.student_steps)
    if min(counts) < 1:
        raise InputError(
            f"got frames {args.frames}, batch {args.batch}, steps {args.teacher_steps} and "
            f"{args.student_steps}, expected at least 1"
        )
    return BenchConfig(
        preset=args.preset,
        height=height,
        width=width,
        frames=tuple(args.frames),
        batch=args.batch,
        dtype=args.dtype,
        device=_device(args.device),
        seed=args.seed,
        teacher_steps=args.teacher_steps,
        student_steps=tuple(args.student_steps),
    )


def _device(name: str) -> str:
    from ..devices import check_device

    device = check_device(name)
    if device.type not in ("cpu", "cuda"):
        raise InputError(
            f"got device {name!r}, expected cpu or cuda: time and memory are measured only there"
        )
    return str(device)


def _size(text: str) -> tuple[int, int]:
    sides = [int(side) if side.isdecimal() else 0 for side in text.lower().split("x")]
    if len(sides) != 2 or any(side < 8 or side % 8 for side in sides):
        raise InputError(
            f"got size {text!r}, expected HEIGHTxWIDTH in multiples of 8, such as 320x512"
        )
    return sides[0], sides[1]


def _command(args: argparse.Namespace) -> str:
    """Return the command line that repeats this measurement."""
    words = ["hummingbird bench", args.table, "--preset", args.preset]
    if args.size:
        words += ["--size", args.size]
    words += ["--frames", *args.frames, "--batch", args.batch]
    words += ["--device", args.device, "--seed", args.seed]
    for option, (_, tables) in USED_BY.items():
        if args.table in tables:
            value = getattr(args, option)
            values = value if isinstance(value, list) else [value]
            words += [f"--{option.replace('_', '-')}", *values]
    return " ".join(map(str, words))
