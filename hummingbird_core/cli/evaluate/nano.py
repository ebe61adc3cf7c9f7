"""`hummingbird evaluate nano`: how often the built-in model shows what its prompts say."""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import torch

from ...errors import InputError
from ...files import atomic_write
from ...nano.diversity import SEEDS, diversity_table, measure_diversity
from ...nano.evaluate import NanoEvaluation, accuracy_table, evaluate_nano
from ...nano.world.stream import HELD_OUT
from ...pipeline import HummingbirdPipeline
from ...terminal import print_text

EPILOG = """\
examples:
  hummingbird evaluate nano
  hummingbird evaluate nano --held-out order --prompts 50 --steps 2
  hummingbird evaluate nano --model runs/tune/student.safetensors -o outputs/accuracy
  hummingbird evaluate nano --seeds 0                      without the diversity

Videos of held-out prompts are made and read back: how often each kind of word is right, with 95 %
Wilson intervals, and how close the subjects are to their drawings. Then several seeds of a few
prompts show how much the seed changes, against the clips that the model was trained on.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `hummingbird evaluate nano`."""
    parser.epilog = EPILOG
    parser.add_argument("--model", default="nano", help="'nano' or a checkpoint")
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
    parser.add_argument("--steps", type=int, default=4, help="sampling steps")
    parser.add_argument("--guidance", type=float, default=7.5, help="guidance scale")
    parser.add_argument("--frames", type=int, default=16, help="frames per video")
    parser.add_argument("--batch", type=int, default=8, help="videos per batch")
    parser.add_argument("--device", help="cpu, cuda ... (default: the best available)")
    parser.add_argument("-o", "--output", type=Path, help="also write FILE.json and FILE.md")


def run(args: argparse.Namespace) -> None:
    """Write the tables if an output is given, and print them."""
    _check(args)
    pipe = HummingbirdPipeline.from_pretrained(args.model, device=args.device)
    settings = {
        "batch": args.batch,
        "num_inference_steps": args.steps,
        "guidance_scale": args.guidance,
        "num_frames": args.frames,
    }
    began = time.perf_counter()
    found = {
        name: evaluate_nano(pipe, args.prompts, held_out=name, **settings) for name in args.held_out
    }
    seconds = (time.perf_counter() - began) / (args.prompts * len(found))
    title = f"{Path(args.model).stem}, {args.steps} steps, guidance {args.guidance}"
    text = f"{title}, {args.frames} frames, {args.prompts} prompts each\n\n{accuracy_table(found)}"
    record: dict[str, Any] = {name: _record(each) for name, each in found.items()}
    if args.seeds:
        diversity = measure_diversity(pipe, seeds=args.seeds, **settings)
        spread = {name: _finite(value) for name, value in diversity.spread.items()}
        record["diversity"] = {"distance": diversity.distance, "spread": spread}
        text += f"\n\n{diversity_table({title: diversity})}"
    if args.output:  # first: a closed pipe must not lose it
        measured = {"seconds_a_video": round(seconds, 3), "device": str(pipe.device)}
        _write(args, text, record, measured)
    print_text(text)


def _check(args: argparse.Namespace) -> None:
    for option, least in (("prompts", 1), ("batch", 1), ("frames", 2), ("seeds", 0)):
        if vars(args)[option] < least:
            raise InputError(f"got --{option} {vars(args)[option]}, expected at least {least}")
    if args.seeds == 1:
        raise InputError("got --seeds 1, expected at least 2 to compare, or 0")


def _record(found: NanoEvaluation) -> dict[str, Any]:
    accuracies = found.accuracies
    return {
        "accuracy": {kind: accuracy.value for kind, accuracy in accuracies.items()},
        "interval": {kind: accuracy.interval for kind, accuracy in accuracies.items()},
        "videos": {kind: accuracy.total for kind, accuracy in accuracies.items()},
        "distance": _finite(found.distance),
        "farthest": [found.farthest[0], _finite(found.farthest[1])],
    }


def _finite(value: float) -> float | None:
    """Return None for the NaN of videos that show nothing, which JSON does not have."""
    return value if math.isfinite(value) else None


def _write(
    args: argparse.Namespace, text: str, found: dict[str, Any], measured: dict[str, Any]
) -> None:
    record = {
        "model": Path(args.model).stem,
        "prompts": args.prompts,
        "seeds": args.seeds,
        "steps": args.steps,
        "guidance": args.guidance,
        "frames": args.frames,
        **found,
        **measured,
        "command": shlex.join(["hummingbird", *sys.argv[1:]]),
        "torch": torch.__version__,
    }
    for suffix, content in (
        (".json", json.dumps(record, indent=2, allow_nan=False)),
        (".md", text),
    ):
        with atomic_write(args.output.with_suffix(suffix)) as temporary:
            temporary.write_text(content + "\n", encoding="utf-8")
