"""`hummingbird train prune`: the student that a teacher's blocks make."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...training.pruning.files import ChooseMap

EPILOG = """\
examples:
  hummingbird train prune videocrafter2.safetensors -o student.safetensors --to hummingbird-0.9b
  hummingbird train prune nano-teacher -o student.safetensors --to hummingbird-nano
  hummingbird train prune nano-teacher -o student.safetensors --map runs/blocks-map.json

The student has the names and shapes of a released model, and loads wherever one does; it makes good
videos only after distillation. Without --to and --map, the published map is taken, and no middle
block. A map is a JSON object, {"input_blocks.0": "input_blocks.0", "input_blocks.2":
"input_blocks.3", ...}, from every block of the student to the teacher's block that it copies;
`hummingbird train rank-blocks` proposes one. Memory stays small: one tensor is read and written at
a time.
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
    which.add_argument("--to", choices=STUDENTS, help="the student of this name")
    which.add_argument("--map", type=Path, metavar="FILE.json", help="blocks of your own choice")
    parser.add_argument(
        "--dtype", choices=("fp32", "fp16", "bf16"), default="fp32", help="default: fp32"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the output")


def run(args: argparse.Namespace) -> None:
    """Prune with a progress bar in bytes, and say what was written."""
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
    print(f"{student['teacher']}: {student['teacher_parameters']:,} parameters")
    print(f"{student['preset']}: {student['parameters']:,} parameters ({share:.1%})")
    print(f"without {', '.join(student['removed'])}")
    for name in student["new"]:
        print(f"new, and zero until it is trained: {name}")
    print(f"wrote {args.output}")


def _map_chooser(args: argparse.Namespace) -> ChooseMap:
    """What makes the map, once the teacher's shape is known."""
    from dataclasses import replace

    from ...training.pruning.block_map import map_to, read_map
    from ...unet.model import UNetConfig

    if args.map:
        mapping = read_map(args.map)
        return lambda teacher: mapping
    if args.to:
        return lambda teacher: map_to(teacher, UNetConfig.from_preset(args.to))
    return lambda teacher: map_to(teacher, replace(teacher, num_res_blocks=1, middle_block=False))
