"""`hummingbird train lora`: fine-tune a LoRA on a folder of clips or images."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...terminal import print_line
from ...training.lora.finetune import LoRAFinetuneConfig
from .options import add_tracker

EPILOG = """\
examples:
  a style, from clips with captions in .txt files of the same names:
    hummingbird train lora watercolours -o watercolour.safetensors --trigger wtrclr \\
        --model hummingbird-0.7b.safetensors
  and then:
    hummingbird generate "wtrclr, a fox in the snow" -o fox.mp4 \\
        --lora watercolour.safetensors --model hummingbird-0.7b.safetensors
  a subject, from a few images of it, with the built-in model:
    hummingbird train lora pictures -o pet.safetensors --trigger zorblax --model nano

The file works with ComfyUI's own LoRA loader too. With --trigger, prompts without the word change
little; without it, the style applies to every prompt. Clips shorter than --frames are skipped;
images train the appearance but not the motion. Five to fifty clips or images are a good number.
The same command resumes after an interruption; its state is kept in NAME.run next to the output,
which can be deleted after training.
"""
OPTIONS = {  # option -> type and help
    "rank": (int, "rank of the LoRA: a higher rank has more capacity and overfits sooner"),
    "steps": (int, "optimizer steps"),
    "learning_rate": (float, "default: 2e-4, for the built-in model 2e-3"),
    "batch": (int, "clips per step; clips are repeated if there are fewer"),
    "num_frames": (int, "frames per clip"),
    "height": (int, "pixels, a multiple of 8 (default: the model's)"),
    "width": (int, "pixels, a multiple of 8 (default: the model's)"),
    "seed": (int, "seed of all randomness"),
}
BY_MODEL = ("learning_rate", "height", "width")  # defaults that depend on the model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `hummingbird train lora`."""
    parser.epilog = EPILOG
    parser.add_argument(
        "source",
        metavar="FOLDER",
        help="clips or images: a folder, table, shards, or an output of `hummingbird curate`",
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="the .safetensors file to write"
    )
    parser.add_argument(
        "--model", default="nano", help="a checkpoint file or folder; nano is built in"
    )
    parser.add_argument("--trigger", metavar="WORD", help="word that activates the LoRA in prompts")
    for name, (kind, text) in OPTIONS.items():
        flag = "frames" if name == "num_frames" else name.replace("_", "-")
        default = None if name in BY_MODEL else getattr(LoRAFinetuneConfig, name)
        parser.add_argument(f"--{flag}", dest=name, type=kind, default=default, help=text)
    add_tracker(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace the output")


def run(args: argparse.Namespace) -> None:
    """Train with a progress bar, and print the file's name."""
    from dataclasses import replace

    import torch

    from ...pipeline import HummingbirdPipeline
    from ...training.loop.distributed import distributed_state
    from ...training.lora.finetune import finetune_lora

    pipe = HummingbirdPipeline.from_pretrained(args.model, device="cpu", dtype=torch.float32)
    given = {name: getattr(args, name) for name in OPTIONS if getattr(args, name) is not None}
    trigger = (args.trigger or "").strip()
    settings = replace(LoRAFinetuneConfig.for_model(pipe.unet.config), trigger=trigger, **given)
    lora = finetune_lora(
        args.source,
        pipe,
        args.output,
        settings,
        base=args.model,
        overwrite=args.overwrite,
        tracker=args.tracker or "",
    )
    if distributed_state().is_main_process:
        print_line(f"{len(lora.weights)} layers, rank {lora.rank}")
        print_line(f"wrote {args.output}")
