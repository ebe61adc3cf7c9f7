"""`hummingbird train tune`: stage 2, consistency distillation of a student to few steps."""

from __future__ import annotations

import argparse

from ...terminal import print_line
from .options import add_stage, stage_recipe

EPILOG = """\
examples:
  the built-in model's stage 2, on a CPU:
    hummingbird train tune --teacher nano-teacher --student runs/distil/student.safetensors \\
        --data nano -o runs/tune
  the paper's, on four GPUs:
    torchrun --nproc_per_node 4 -m hummingbird_core.cli train tune --teacher videocrafter2.ckpt \\
        --student runs/distil/student.safetensors --data curated --recipe tune-0.7b -o runs/tune \\
        --set objectives.rewards.image.weights=hps.safetensors

The folder finally holds student.safetensors if the recipe trains all weights, as nano-tune does; if
it trains a LoRA, lora.safetensors (for ComfyUI) and lora-peft/, and student.safetensors with
--merge. The same command resumes after an interruption.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `hummingbird train tune`."""
    parser.epilog = EPILOG
    add_stage(parser, "output of stage 1, or another file with a U-Net")
    parser.add_argument(
        "--merge", action="store_true", help="also write the student with its LoRA merged into it"
    )


def run(args: argparse.Namespace) -> None:
    """Train, and print the files' names."""
    recipe = stage_recipe(args, "tune")
    from ...training.distillation.tune import tune
    from ...training.loop.distributed import distributed_state

    files = tune(
        args.teacher,
        args.student,
        args.data,
        recipe,
        args.output,
        args.latents,
        merge=args.merge,
        tracker=args.tracker or "",
    )
    if distributed_state().is_main_process:
        for path in (files.lora, files.peft, files.model):
            if path:
                print_line(f"wrote {path}")
