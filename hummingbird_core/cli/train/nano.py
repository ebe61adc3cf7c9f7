"""`hummingbird train nano`: the built-in model, from nothing."""

from __future__ import annotations

import argparse
from pathlib import Path

EPILOG = """\
examples:
  hummingbird train nano
  with two processes:
    torchrun --nproc_per_node 2 -m hummingbird_core.cli train nano

The stages, and what is in the folder after them: vae, text and teacher, nano-teacher.safetensors;
blocks, which measures what each block of the teacher is worth, blocks.md, .json, .png and
blocks-map.json; student, distil/student.safetensors; tuning, tune/ and
hummingbird-nano.safetensors. A stage whose file is there is not run again, so delete what is to be
made anew. Stopped by Ctrl-C or in any other way, the same command goes on where it was.
docs/training.md says more.
"""
STAGES = ("vae", "text", "teacher", "student", "tuning")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `hummingbird train nano`."""
    parser.epilog = EPILOG
    parser.add_argument("--folder", type=Path, default=Path("runs/nano"), help="of the run")
    parser.add_argument(
        "-o", "--output", type=Path, help="another folder that gets both models in the end"
    )
    group = parser.add_argument_group("optimizer steps, instead of the usual ones")
    for stage in STAGES:
        group.add_argument(f"--{stage}-steps", type=int, metavar="N")


def run(args: argparse.Namespace) -> None:
    """Run all stages that are not done, and say what was written."""
    import shutil

    from ...training.loop.distributed import connect
    from ...training.nano.build import make_nano

    given = {stage: getattr(args, f"{stage}_steps") for stage in STAGES}
    files = make_nano(args.folder, {stage: n for stage, n in given.items() if n is not None})
    if not connect().is_main_process:
        return
    for file in files:
        if args.output and args.output.resolve() != args.folder.resolve():
            args.output.mkdir(parents=True, exist_ok=True)
            file = Path(shutil.copyfile(file, args.output / file.name))
        print(f"wrote {file}")
