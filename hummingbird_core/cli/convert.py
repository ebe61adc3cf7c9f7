"""`hummingbird convert`: convert a released checkpoint, or a LoRA, to one safetensors file."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..terminal import print_line

EPILOG = """\
examples:
  hummingbird convert 07B_merged_all.pt hummingbird-07b.safetensors --dtype fp16
  hummingbird convert unet_lora.pt reward-lora.safetensors --lora-for hummingbird-0.7b

The source may be a whole pickled model, a state dict or a safetensors file. Nothing in it is
executed. One tensor is read and written at a time, which keeps memory small. A LoRA of any format
is converted to the names that ComfyUI's own LoRA nodes read.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `hummingbird convert`."""
    parser.epilog = EPILOG
    parser.add_argument("source", type=Path, help="the checkpoint to read")
    parser.add_argument("destination", type=Path, help="the .safetensors file to write")
    parser.add_argument(
        "--dtype", choices=("fp32", "fp16", "bf16"), default="fp16", help="precision to store"
    )
    parser.add_argument(
        "--lora-for", metavar="PRESET", help="the source is a LoRA for this U-Net, not a checkpoint"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the destination")


def run(args: argparse.Namespace) -> None:
    """Convert the source and print the file's name."""
    convert = _convert_lora if args.lora_for else _convert_checkpoint
    convert(args)
    print_line(f"wrote {args.destination}")


def _convert_lora(args: argparse.Namespace) -> None:
    from ..lora.merge import convert_lora
    from ..unet.model import HummingbirdUNet, UNetConfig

    unet = HummingbirdUNet(UNetConfig.from_preset(args.lora_for), device="meta")
    lora = convert_lora(args.source, args.destination, unet, overwrite=args.overwrite)
    for entry in lora.unused:
        print_line(f"left out {entry}")


def _convert_checkpoint(args: argparse.Namespace) -> None:
    """Convert a checkpoint with a progress bar in bytes."""
    from tqdm import tqdm

    from ..checkpoints.convert import convert_checkpoint
    from ..devices import DTYPES

    with tqdm(unit="B", unit_scale=True, disable=None, leave=False) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        convert_checkpoint(
            args.source,
            args.destination,
            dtype=DTYPES[args.dtype],
            overwrite=args.overwrite,
            progress=progress,
        )
