"""`hummingbird train agreement`: a small CLIP for videos of the built-in world."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from ...terminal import print_line

EPILOG = """\
examples:
  hummingbird train agreement -o agreement.safetensors
  hummingbird train tune ... --set objectives.rewards.agreement.kind=agreement \\
      --set objectives.rewards.agreement.weights=agreement.safetensors

It learns from pairs of drawn clips and captions, and from captions that differ in one statement,
which of them agree: the built-in model's counterpart of the paper's learned rewards. The same
command resumes after an interruption.
"""
HELD_OUT_SEED, HELD_OUT_CLIPS = 2027, 300


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `hummingbird train agreement`."""
    parser.epilog = EPILOG
    parser.add_argument(
        "--model", default="nano", help="'nano', or a checkpoint whose text encoder is used, frozen"
    )
    parser.add_argument("--steps", type=int, default=1500, help="optimizer steps")
    parser.add_argument("--batch", type=int, default=32, help="clips per step")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="peak rate")
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/agreement"), help="folder of the training state"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="FILE.safetensors")
    parser.add_argument("--overwrite", action="store_true", help="replace the output")


def run(args: argparse.Namespace) -> None:
    """Train, measure on held-out clips, and write the model."""
    import torch

    from ...agreement.model import save_agreement
    from ...checkpoints.load import load_checkpoint
    from ...errors import CheckpointError
    from ...files import check_destination
    from ...hub.local import resolve_model
    from ...training.loop.config import SMALL_MODEL
    from ...training.loop.distributed import distributed_state
    from ...training.nano.agreement import preference, train_agreement

    check_destination(args.output, overwrite=args.overwrite)
    settings = replace(
        SMALL_MODEL,
        steps=args.steps,
        learning_rate=args.learning_rate,
        warmup=50,
        batch=args.batch,
        weight_decay=1e-2,
    )
    text = load_checkpoint(resolve_model(args.model), dtype=torch.float32).text_encoder
    if text is None:
        raise CheckpointError(f"got {args.model} without text encoder, expected one: see --model")
    model = train_agreement(settings, args.folder, text).eval()
    if not distributed_state().is_main_process:
        return
    save_agreement(args.output, model)
    share = preference(model, HELD_OUT_CLIPS, HELD_OUT_SEED)
    print_line(
        f"prefers the true caption to one with a changed statement for {share:.1%} of "
        f"{HELD_OUT_CLIPS} held-out clips; wrote {args.output}"
    )
