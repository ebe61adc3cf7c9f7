"""`hummingbird train lora`: a style or a subject from a folder of clips or pictures."""

from __future__ import annotations

import argparse
from pathlib import Path

EPILOG = """\
examples:
  a style, from clips with captions in .txt files of the same names:
    hummingbird train lora watercolours -o watercolour.safetensors --trigger wtrclr \\
        --model hummingbird-0.7b.safetensors
  and then:
    hummingbird generate "wtrclr, a fox in the snow" -o fox.mp4 \\
        --lora watercolour.safetensors --model hummingbird-0.7b.safetensors
  a subject, from a few pictures of it, with the built-in model:
    hummingbird train lora pictures -o pet.safetensors --trigger zorblax --model nano

The file works with ComfyUI's own LoRA loader too. With --trigger, prompts without the word stay
close to what they were; without it, every prompt gets the style. Clips shorter than --frames are
left out; pictures teach the look and leave the motion alone. Five to fifty clips or pictures are a
good number. Stopped by Ctrl-C or in any other way, the same command goes on where it was; NAME.run
beside the output keeps what that needs, and can be deleted in the end.
"""
GIVEN = {  # option -> type and help; without it, the model's usual value
    "rank": (int, "of the LoRA: more can hold more, and overfits sooner (default: 16)"),
    "steps": (int, "default: 500"),
    "learning_rate": (float, "default: 2e-4, for the built-in model 2e-3"),
    "batch": (int, "clips of a step; of fewer, each comes more often (default: 4)"),
    "num_frames": (int, "of a clip (default: 16)"),
    "height": (int, "pixels, a multiple of 8 (default: the model's)"),
    "width": (int, "pixels, likewise"),
    "seed": (int, "of everything random (default: 0)"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `hummingbird train lora`."""
    parser.epilog = EPILOG
    parser.add_argument(
        "source",
        metavar="FOLDER",
        help="of clips or pictures; a table, shards or what `hummingbird curate` made do too",
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="the .safetensors file to write"
    )
    parser.add_argument(
        "--model", default="nano", help="a checkpoint file or folder (default: nano, built in)"
    )
    parser.add_argument("--trigger", default="", metavar="WORD", help="that calls it in prompts")
    for name, (kind, text) in GIVEN.items():
        flag = "frames" if name == "num_frames" else name.replace("_", "-")
        parser.add_argument(f"--{flag}", dest=name, type=kind, help=text)
    parser.add_argument("--overwrite", action="store_true", help="replace the output")


def run(args: argparse.Namespace) -> None:
    """Train with a progress bar, and say what was written."""
    from dataclasses import replace

    import torch

    from ...pipeline import HummingbirdPipeline
    from ...training.loop.distributed import connect
    from ...training.lora.finetune import LoRAFinetuneConfig, finetune_lora

    pipe = HummingbirdPipeline.from_pretrained(args.model, device="cpu", dtype=torch.float32)
    given = {name: getattr(args, name) for name in GIVEN if getattr(args, name) is not None}
    settings = replace(
        LoRAFinetuneConfig.usual(pipe.trained), trigger=args.trigger.strip(), **given
    )
    lora = finetune_lora(args.source, pipe, args.output, settings, overwrite=args.overwrite)
    if connect().is_main_process:
        print(f"{len(lora.weights)} layers, rank {lora.rank}")
        print(f"wrote {args.output}")
