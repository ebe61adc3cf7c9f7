"""`hummingbird train decoder`: prune and distil a smaller, faster VAE decoder."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...terminal import print_line
from .options import add_tracker

if TYPE_CHECKING:
    from torch import Tensor

    from ...training.loop.config import TrainConfig

EPILOG = """\
examples:
  the built-in ones, tiny and middle, an hour each on one core (train both again when the built-in
  VAE changes):
    hummingbird train decoder -o hummingbird_core/assets/nano/nano-decoder.safetensors
    hummingbird train decoder --divisor 2 --folder runs/middle-decoder \\
        -o hummingbird_core/assets/nano/nano-middle-decoder.safetensors
  for a released model (not tested yet):
    hummingbird train decoder --model hummingbird-07b.safetensors --videos curated/clips \\
        --divisor 4 --layers 1 --steps 20000 --batch 16 -o fast-decoder.safetensors
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `hummingbird train decoder`."""
    parser.epilog = EPILOG
    parser.add_argument("--model", default="nano", help="model whose decoder is distilled")
    parser.add_argument(
        "--videos",
        type=Path,
        metavar="FOLDER",
        help="videos, one in twenty of which is held out (default: the built-in model's "
        "synthetic dataset)",
    )
    parser.add_argument("--divisor", type=int, default=4, help="of all widths; 2: middle, 4: tiny")
    parser.add_argument("--layers", type=int, default=0, help="residual blocks per level, minus 1")
    parser.add_argument("--steps", type=int, default=1500, help="optimizer steps")
    parser.add_argument("--batch", type=int, default=16, help="frames per step")
    parser.add_argument("--learning-rate", type=float, default=3e-3, help="peak rate")
    parser.add_argument("--save-every", type=int, default=50, help="steps between saved states")
    parser.add_argument(
        "--keep-last",
        type=int,
        default=1,
        help="saved states whose decoders stay usable, in FOLDER/checkpoints; 0 for none",
    )
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/decoder"), help="folder of the training state"
    )
    add_tracker(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, help="FILE.safetensors")
    parser.add_argument("--overwrite", action="store_true", help="replace the output")


def run(args: argparse.Namespace) -> None:
    """Prune, distil, measure and write the decoder."""
    import torch

    from ...checkpoints.convert import license_of
    from ...checkpoints.load import load_checkpoint
    from ...errors import InputError
    from ...files import check_destination
    from ...hub.local import resolve_model
    from ...nano.world.stream import single_frames
    from ...training.data.single_frames import open_frames
    from ...training.loop.distributed import distributed_state
    from ...training.loop.modules import freeze
    from ...training.tiny_decoder.distil import (
        distil_decoder,
        held_out_frames,
        psnr_against,
        save_decoder,
    )
    from ...training.tiny_decoder.prune import prune_decoder

    check_destination(args.output, overwrite=args.overwrite)
    model = resolve_model(args.model)
    full = load_checkpoint(model, dtype=torch.float32).vae
    if full is None:
        raise InputError(f"got {args.model} without a VAE: give a whole model")
    frames, others = open_frames(args.videos) if args.videos else (single_frames, single_frames)
    pictures = held_out_frames(others)  # unreadable videos fail here, before training
    settings = _settings(args)
    small = prune_decoder(full, args.divisor, args.layers)
    freeze(full, settings.precision)
    license = license_of(model)  # a decoder made from a model's decoder stays under its licence

    def write(weights: dict[str, Tensor], path: Path, step: int) -> None:
        quality = psnr_against(full, small, pictures)
        save_decoder(path, small, psnr=quality, license=license)

    small = distil_decoder(full, small, frames, settings, args.folder, write, args.tracker or "")
    if not distributed_state().is_main_process:
        return
    quality = psnr_against(full, small, pictures)
    save_decoder(args.output, small, psnr=quality, license=license)
    print_line(f"PSNR against the full decoder: {quality:.1f} dB; wrote {args.output}")


def _settings(args: argparse.Namespace) -> TrainConfig:
    from ...training.loop.config import SMALL_MODEL

    return replace(
        SMALL_MODEL,
        steps=args.steps,
        learning_rate=args.learning_rate,
        batch=args.batch,
        save_every=args.save_every,
        keep_last=args.keep_last,
    )
