"""`hummingbird train rank-blocks`: which blocks of a teacher a student can do without."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from ...training.pruning.rank_blocks import RankConfig

EPILOG = """\
examples:
  hummingbird train rank-blocks nano-teacher -o runs/blocks
  hummingbird train rank-blocks videocrafter2.safetensors -o runs/vc2 --data curated --budget 0.67
  hummingbird train prune nano-teacher -o student.safetensors --map runs/blocks-map.json

Takes out one block at a time, or the lowest level whole, trains nothing, and measures what is lost:
the distance to the whole teacher's predictions on some clips, and a metric of sampled videos
(higher is better). Writes NAME.json, NAME.md, NAME.png, and the map of the best student within the
budget, NAME-map.json. Run the same command again after a stop, or with another budget: nothing is
measured twice.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `hummingbird train rank-blocks`."""
    parser.epilog = EPILOG
    usual = RankConfig()
    parser.add_argument("teacher", help="a checkpoint with VAE and text encoder, or nano-teacher")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="NAME", help="of the files, no suffix"
    )
    parser.add_argument(
        "--budget",
        type=float,
        default=usual.budget,
        metavar="SHARE",
        help="of the teacher's parameters that the student may have (default: %(default)s)",
    )
    parser.add_argument(
        "--clips",
        type=int,
        default=usual.clips,
        help="to measure the loss on (default: %(default)s)",
    )
    parser.add_argument(
        "--frames",
        type=int,
        default=usual.frames,
        help="of clips and samples (default: %(default)s)",
    )
    parser.add_argument(
        "--data",
        metavar="SOURCE",
        help="clips with captions: a folder, table, shards, or what `hummingbird curate` made; or "
        "`nano`, the built-in model's world (nano's default)",
    )
    parser.add_argument(
        "--metric",
        help="nano (the nano family's default: what its videos show of captions), none (the "
        "default of others), or MODULE:FUNCTION of your own that turns a HummingbirdPipeline "
        "into a number",
    )
    parser.add_argument(
        "--prompts",
        type=int,
        default=usual.prompts,
        help="for nano, of each kind (default: %(default)s)",
    )
    parser.add_argument(
        "--steps", type=int, default=usual.steps, help="for nano (default: %(default)s)"
    )
    parser.add_argument(
        "--guidance",
        type=float,
        default=usual.guidance,
        help="for nano (default: %(default)s)",
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps ... (default: the best there is)")
    parser.add_argument("--dtype", choices=("fp32", "fp16", "bf16"), help="default: by device")


def run(args: argparse.Namespace) -> None:
    """Measure, print the table, and write the files."""
    from ...devices import DTYPES
    from ...training.pruning.rank_blocks import rank_blocks

    settings = RankConfig(**{field.name: vars(args)[field.name] for field in fields(RankConfig)})
    dtype = DTYPES[args.dtype] if args.dtype else None
    table, files = rank_blocks(args.teacher, args.output, settings, args.device, dtype)
    print(table)
    for path in files:
        print(f"wrote {path}")
