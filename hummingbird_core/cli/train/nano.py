"""`hummingbird train nano`: train the built-in model from scratch."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...terminal import print_line

EPILOG = """\
examples:
  hummingbird train nano
  hummingbird train nano --folder runs/next --initial runs/nano/nano-teacher.safetensors
  with two processes:
    torchrun --nproc_per_node 2 -m hummingbird_core.cli train nano

The stages and the files they write to the folder:
  vae, text, teacher   nano-teacher.safetensors
  blocks               blocks.md, .json, .png and blocks-map.json, the importance of each block
  student              distil/ and hummingbird-nano.safetensors
A stage is skipped if its file exists: delete the file to run it again. The same command resumes
after an interruption. See docs/guides/training.md.
"""
STAGES = ("vae", "text", "teacher", "student")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `hummingbird train nano`."""
    parser.epilog = EPILOG
    parser.add_argument("--folder", type=Path, default=Path("runs/nano"), help="folder of the run")
    parser.add_argument("-o", "--output", type=Path, help="another folder to copy both models to")
    parser.add_argument(
        "--initial",
        metavar="FILE",
        help="an earlier teacher, from whose weights the U-Net of this one starts, where they fit; "
        "a run that is continued does not need it",
    )
    group = parser.add_argument_group("optimizer steps per stage, if not the standard ones")
    for stage in STAGES:
        group.add_argument(
            f"--{stage}-steps", type=int, metavar="N", help=f"steps of the stage {stage}"
        )


def run(args: argparse.Namespace) -> None:
    """Run all unfinished stages, and print the files' names."""
    import shutil

    from ...training.loop.distributed import distributed_state
    from ...training.nano.build import make_nano

    given = {stage: getattr(args, f"{stage}_steps") for stage in STAGES}
    steps = {stage: n for stage, n in given.items() if n is not None}
    files = make_nano(args.folder, steps, args.initial)
    if not distributed_state().is_main_process:
        return
    for file in files:
        if args.output and args.output.resolve() != args.folder.resolve():
            args.output.mkdir(parents=True, exist_ok=True)
            file = Path(shutil.copyfile(file, args.output / file.name))
        print_line(f"wrote {file}")
