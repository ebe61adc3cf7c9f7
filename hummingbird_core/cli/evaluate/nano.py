"""`hummingbird evaluate nano`: how often the built-in model shows what its prompts say."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path

import torch

from ...errors import InputError
from ...files import atomic_write
from ...generation.model import ModelConfig
from ...inputs.steps import TRAIN_TIMESTEPS, check_steps
from ...nano.diversity import SEEDS
from ...nano.results import NanoResults, measure_nano
from ...nano.words import VIDEOS
from ...nano.world.stream import HELD_OUT
from ...terminal import print_text
from ..options import add_loras, split_strength

EPILOG = """\
examples:
  hummingbird evaluate nano
  hummingbird evaluate nano --held-out order --prompts 50 --steps 1 2 4 8
  hummingbird evaluate nano --model runs/tune/student.safetensors -o outputs/accuracy
  hummingbird evaluate nano --lora runs/lora/lora.safetensors
  hummingbird evaluate nano --seeds 0 --words 0            how often it is right, nothing else

Videos of held-out prompts are made and read back: how often each kind of word is right, with 95 %
Wilson intervals, and how close the subjects are to their drawings; how often the speed is right at
4, 8 and 16 frames a second. Then several seeds of a few prompts show how much the seed changes,
against the clips that the model was trained on, and how many kinds of these clips are made. At
last every word of the vocabulary has videos, which show whether it is heard.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `hummingbird evaluate nano`."""
    parser.epilog = EPILOG
    parser.add_argument("--model", default="nano", help="'nano' or a checkpoint")
    add_loras(parser)
    parser.add_argument(
        "--held-out",
        choices=HELD_OUT,
        nargs="+",
        default=list(HELD_OUT),
        help="what training has not seen: the wording of a prompt, the order of its words, or the "
        "combination of a subject with a motion or a place",
    )
    parser.add_argument("--prompts", type=int, default=200, help="prompts of each kind")
    parser.add_argument(
        "--seeds", type=int, default=SEEDS, help="seeds a prompt for the diversity; 0: leave it out"
    )
    parser.add_argument(
        "--words", type=int, default=VIDEOS, help="videos of each word; 0: leave the words out"
    )
    parser.add_argument(
        "--steps",
        type=int,
        nargs="+",
        default=[4],
        help="numbers of sampling steps, measured one after the other",
    )
    parser.add_argument("--guidance", type=float, default=7.5, help="guidance scale")
    parser.add_argument("--frames", type=int, default=16, help="frames per video")
    parser.add_argument("--batch", type=int, default=8, help="videos per batch")
    parser.add_argument("--device", help="cpu, cuda ... (default: the best available)")
    parser.add_argument("-o", "--output", type=Path, help="also write FILE.json and FILE.md")


def run(args: argparse.Namespace) -> None:
    """Measure each number of steps; write the figures so far if an output is given; print them."""
    _check(args)
    model = ModelConfig(args.model, tuple(map(split_strength, args.lora)), device=args.device)
    model.check()
    pipe, name = model.load(), _name(model)
    found: dict[int, NanoResults] = {}
    for steps in args.steps:
        found[steps] = measure_nano(
            pipe,
            f"{name}, {steps} steps, guidance {args.guidance:g}, {args.frames} "
            f"frames, {args.prompts} prompts each",
            held_out=args.held_out,
            prompts=args.prompts,
            seeds=args.seeds,
            words=args.words,
            num_frames=args.frames,
            batch=args.batch,
            num_inference_steps=steps,
            guidance_scale=args.guidance,
        )
        if args.output:  # first: a closed pipe must not lose it
            _write(args, found, name, str(pipe.device))
        print_text(("\n" if len(found) > 1 else "") + found[steps].text())


def _name(model: ModelConfig) -> str:
    """Return the names of a model's files, with the strengths of LoRAs that are not 1."""
    loras = (f"{path.stem}{f':{s:g}' if s != 1 else ''}" for path, s in model.loras)
    return " + ".join((Path(model.model).stem, *loras))


def _check(args: argparse.Namespace) -> None:
    for option, least in (("prompts", 1), ("batch", 1), ("frames", 2), ("seeds", 0), ("words", 0)):
        if vars(args)[option] < least:
            raise InputError(f"got --{option} {vars(args)[option]}, expected at least {least}")
    if args.seeds == 1:
        raise InputError("got --seeds 1, expected at least 2 to compare, or 0")
    for steps in args.steps:
        check_steps(steps, TRAIN_TIMESTEPS)


def _write(args: argparse.Namespace, found: dict[int, NanoResults], name: str, device: str) -> None:
    record = {
        "model": name,
        "prompts": args.prompts,
        "seeds": args.seeds,
        "words": args.words,
        "guidance": args.guidance,
        "frames": args.frames,
        "steps": {str(steps): results.record() for steps, results in found.items()},
        "device": device,
        "command": shlex.join(["hummingbird", *sys.argv[1:]]),
        "torch": torch.__version__,
    }
    text = "\n\n".join(results.text() for results in found.values())
    for suffix, content in (
        (".json", json.dumps(record, indent=2, allow_nan=False)),
        (".md", text),
    ):
        with atomic_write(args.output.with_suffix(suffix)) as temporary:
            temporary.write_text(content + "\n", encoding="utf-8")
