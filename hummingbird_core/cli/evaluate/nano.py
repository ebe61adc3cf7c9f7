"""`hummingbird evaluate nano`: how often the built-in model shows what its prompts say."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import torch

from ...errors import InputError
from ...files import atomic_write
from ...nano.evaluate import SUBJECTS, Accuracy, accuracy_table, evaluate_nano
from ...pipeline import HummingbirdPipeline
from ...terminal import print_text

EPILOG = """\
examples:
  hummingbird evaluate nano
  hummingbird evaluate nano --subjects shapes --prompts 50 --steps 2
  hummingbird evaluate nano --model runs/tune/student.safetensors -o outputs/accuracy

Videos of held-out prompts are made and read back, with 95 % Wilson intervals for each aspect.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `hummingbird evaluate nano`."""
    parser.epilog = EPILOG
    parser.add_argument("--model", default="nano", help="'nano' or a checkpoint")
    parser.add_argument("--subjects", choices=[*SUBJECTS], help="only these (default: both)")
    parser.add_argument("--prompts", type=int, default=200, help="held-out prompts per subject")
    parser.add_argument("--steps", type=int, default=4, help="sampling steps")
    parser.add_argument("--guidance", type=float, default=7.5, help="guidance scale")
    parser.add_argument("--frames", type=int, default=16, help="frames per video")
    parser.add_argument("--batch", type=int, default=8, help="videos per batch")
    parser.add_argument("--device", help="cpu, cuda ... (default: the best available)")
    parser.add_argument("-o", "--output", type=Path, help="also write FILE.json and FILE.md")


def run(args: argparse.Namespace) -> None:
    """Write the table if an output is given, and print it."""
    for option in ("prompts", "batch"):
        if vars(args)[option] < 1:
            raise InputError(f"got --{option} {vars(args)[option]}, expected at least 1")
    pipe = HummingbirdPipeline.from_pretrained(args.model, device=args.device)
    began = time.perf_counter()
    names = [args.subjects] if args.subjects else list(SUBJECTS)
    found = {name: _evaluate(pipe, name, args) for name in names}
    seconds = (time.perf_counter() - began) / (args.prompts * len(names))
    title = f"{Path(args.model).stem}, {args.steps} steps, guidance {args.guidance}"
    table = f"{title}, {args.frames} frames, {args.prompts} prompts each\n\n{accuracy_table(found)}"
    if args.output:  # first: a closed pipe must not lose it
        measured = {"seconds_a_video": round(seconds, 3), "device": str(pipe.device)}
        _write(args, table, found, measured)
    print_text(table)


def _evaluate(
    pipe: HummingbirdPipeline, subjects: str, args: argparse.Namespace
) -> dict[str, Accuracy]:
    return evaluate_nano(
        pipe,
        subjects,
        args.prompts,
        batch=args.batch,
        num_inference_steps=args.steps,
        guidance_scale=args.guidance,
        num_frames=args.frames,
    )


def _write(
    args: argparse.Namespace,
    table: str,
    found: dict[str, dict[str, Accuracy]],
    measured: dict[str, Any],
) -> None:
    record = {
        "model": Path(args.model).stem,
        "prompts": args.prompts,
        "steps": args.steps,
        "guidance": args.guidance,
        "frames": args.frames,
        "accuracy": {n: {k: a.value for k, a in part.items()} for n, part in found.items()},
        "interval": {n: {k: a.interval for k, a in part.items()} for n, part in found.items()},
        **measured,
        "command": shlex.join(["hummingbird", *sys.argv[1:]]),
        "torch": torch.__version__,
    }
    for suffix, text in ((".json", json.dumps(record, indent=2)), (".md", table)):
        with atomic_write(args.output.with_suffix(suffix)) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
