"""`hummingbird train distil`: stage 1, distil a teacher into a pruned student."""

from __future__ import annotations

import argparse

from ...terminal import print_line
from .options import add_stage, stage_recipe

EPILOG = """\
examples:
  the built-in model's stage 1, on a CPU:
    hummingbird train distil --teacher nano-teacher --student hummingbird-nano --data nano \\
        -o runs/distil
  the paper's, on four GPUs:
    torchrun --nproc_per_node 4 -m hummingbird_core.cli train distil --teacher videocrafter2.ckpt \\
        --student hummingbird-0.7b --data curated --recipe distil-0.7b -o runs/distil
  few steps, after stage 1: the ends of the teacher's paths, then distribution matching:
    ... train distil --teacher videocrafter2.ckpt --student runs/distil/student.safetensors \\
        --data curated --recipe paths-0.7b -o runs/paths
    ... train distil --teacher videocrafter2.ckpt --student runs/paths/student.safetensors \\
        --data curated --recipe few-step-0.7b -o runs/few
  your own recipe, with some values replaced:
    hummingbird train distil ... --recipe mine.yaml --steps 100 --set objectives.output_kd.weight=2

The folder finally holds student.safetensors; during training distil.state.pt, distil.losses.jsonl,
tensorboard/, validation/ and recipe.yaml. The same command resumes after an interruption.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `hummingbird train distil`."""
    parser.epilog = EPILOG
    student = "a preset (hummingbird-0.9b, hummingbird-0.7b, hummingbird-nano), or a U-Net's file"
    add_stage(parser, student)


def run(args: argparse.Namespace) -> None:
    """Train, and print the file's name."""
    recipe = stage_recipe(args, "distil")
    from ...training.distillation.distil import distil
    from ...training.loop.distributed import distributed_state

    path = distil(
        args.teacher, args.student, args.data, recipe, args.output, args.latents, args.tracker or ""
    )
    if distributed_state().is_main_process:
        print_line(f"wrote {path}")
