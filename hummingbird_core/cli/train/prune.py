"""`hummingbird train prune`: create a student from a subset of a teacher's blocks."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ...terminal import print_line

if TYPE_CHECKING:
    from ...training.pruning.files import ChooseMap

EPILOG = """\
examples:
  hummingbird train prune videocrafter2.safetensors -o student.safetensors --to hummingbird-0.9b
  hummingbird train prune nano-teacher -o student.safetensors --to hummingbird-nano
  hummingbird train prune nano-teacher -o student.safetensors --map runs/blocks-map.json

The student has the names and shapes of a released model, and loads wherever one does; it generates
good videos only after distillation. Without --to and --map, the published map without the middle
block is used. A map is a JSON object, {"input_blocks.0": "input_blocks.0", "input_blocks.2":
"input_blocks.3", ...}, from every block of the student to the teacher's block that it copies;
`hummingbird train rank-blocks` proposes one. One tensor is read and written at a time, which keeps
memory small.
"""
STUDENTS = ("hummingbird-0.9b", "hummingbird-0.7b", "hummingbird-nano")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `hummingbird train prune`."""
    parser.epilog = EPILOG
    parser.add_argument("teacher", help="a checkpoint, or nano-teacher")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="the .safetensors file to write"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--to", choices=STUDENTS, help="preset of the student")
    which.add_argument("--map", type=Path, metavar="FILE.json", help="your own map of blocks")
    parser.add_argument(
        "--dtype", choices=("fp32", "fp16", "bf16"), default="fp32", help="precision to store"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the output")


def run(args: argparse.Namespace) -> None:
    """Prune with a progress bar in bytes, and print a summary."""
    from tqdm import tqdm

    from ...devices import DTYPES
    from ...hub.local import resolve_model
    from ...training.pruning.files import prune_checkpoint

    with tqdm(unit="B", unit_scale=True, disable=None, leave=False) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        student = prune_checkpoint(
            resolve_model(args.teacher),
            args.output,
            _map_chooser(args),
            dtype=DTYPES[args.dtype],
            overwrite=args.overwrite,
            progress=progress,
        )
    share = student["parameters"] / student["teacher_parameters"]
    print_line(f"{student['teacher']}: {student['teacher_parameters']:,} parameters")
    print_line(f"{student['preset']}: {student['parameters']:,} parameters ({share:.1%})")
    print_line(f"without {', '.join(student['removed'])}")
    for name in student["new"]:
        print_line(f"new, and zero until it is trained: {name}")
    print_line(f"wrote {args.output}")


def _map_chooser(args: argparse.Namespace) -> ChooseMap:
    """Return a function from the teacher's config to the block map."""
    from dataclasses import replace

    from ...training.pruning.block_map import map_to, read_map
    from ...unet.model import UNetConfig

    if args.map:
        mapping = read_map(args.map)
        return lambda teacher: mapping
    if args.to:
        return lambda teacher: map_to(teacher, UNetConfig.from_preset(args.to))
    return lambda teacher: map_to(teacher, replace(teacher, num_res_blocks=1, middle_block=False))
