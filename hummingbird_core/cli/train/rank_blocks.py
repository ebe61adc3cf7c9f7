"""`hummingbird train rank-blocks`: rank a teacher's blocks by importance."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from ...terminal import print_line, print_text
from ...training.pruning.rank_blocks import RankConfig

EPILOG = """\
examples:
  hummingbird train rank-blocks nano-teacher -o runs/blocks
  hummingbird train rank-blocks videocrafter2.safetensors -o runs/vc2 --data curated --budget 0.67
  hummingbird train prune nano-teacher -o student.safetensors --map runs/blocks-map.json

Removes one block at a time, or the whole lowest level, without training, and measures the loss: the
distance to the full teacher's predictions on some clips, and a metric of sampled videos (higher is
better). Writes NAME.json, NAME.md, NAME.png, and the map of the best student within the budget,
NAME-map.json. Run the same command again after an interruption, or with another budget: nothing is
measured twice.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `hummingbird train rank-blocks`."""
    parser.epilog = EPILOG
    usual = RankConfig()
    parser.add_argument("teacher", help="a checkpoint with VAE and text encoder, or nano-teacher")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="NAME",
        help="path of the files, without suffix",
    )
    parser.add_argument(
        "--budget",
        type=float,
        default=usual.budget,
        metavar="SHARE",
        help="maximum size of the student as a share of the teacher's parameters",
    )
    _add_clip_options(parser, usual)
    _add_metric_options(parser, usual)
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps ... (default: the best available)")
    parser.add_argument(
        "--dtype", choices=("fp32", "fp16", "bf16"), help="default: depends on --device"
    )


def _add_clip_options(parser: argparse.ArgumentParser, usual: RankConfig) -> None:
    """Declare the options of the clips that the loss is measured on."""
    parser.add_argument(
        "--clips", type=int, default=usual.clips, help="clips to measure the loss on"
    )
    parser.add_argument(
        "--frames", type=int, default=usual.frames, help="frames of clips and samples"
    )
    parser.add_argument(
        "--data",
        metavar="SOURCE",
        help="clips with captions: a folder, table, shards, or an output of `hummingbird curate`; "
        "or `nano`, the built-in model's synthetic dataset (default for nano models)",
    )


def _add_metric_options(parser: argparse.ArgumentParser, usual: RankConfig) -> None:
    """Declare the options of the metric of sampled videos."""
    parser.add_argument(
        "--metric",
        help="nano (accuracy of captions, default for nano models), none (default for others), or "
        "your own MODULE:FUNCTION that maps a HummingbirdPipeline to a number",
    )
    parser.add_argument(
        "--prompts",
        type=int,
        default=usual.prompts,
        help="prompts per subject, for the metric nano",
    )
    parser.add_argument(
        "--steps", type=int, default=usual.steps, help="sampling steps, for the metric nano"
    )
    parser.add_argument(
        "--guidance",
        type=float,
        default=usual.guidance,
        help="guidance scale, for the metric nano",
    )


def run(args: argparse.Namespace) -> None:
    """Measure, print the table and write the files."""
    from ...devices import DTYPES
    from ...pipeline import HummingbirdPipeline
    from ...training.pruning.rank_blocks import rank_blocks

    settings = RankConfig(**{field.name: vars(args)[field.name] for field in fields(RankConfig)})
    dtype = DTYPES[args.dtype] if args.dtype else None
    teacher = HummingbirdPipeline.from_pretrained(args.teacher, device=args.device, dtype=dtype)
    table, files = rank_blocks(teacher, args.teacher, args.output, settings)
    print_text(table)
    for path in files:
        print_line(f"wrote {path}")
