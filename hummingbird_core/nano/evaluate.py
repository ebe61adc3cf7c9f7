"""`hummingbird evaluate nano`: does a model of the built-in family do what its prompts say?

Held-out captions in, videos out, read back by `shape_reader` and `picture_reader`. Reported with
95 % Wilson intervals.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ..errors import InputError
from ..files import atomic_write
from ..pipeline import HummingbirdPipeline
from .readers.images import PictureReading, read_pictures
from .readers.shapes import Reading, read_video
from .world.images import random_picture
from .world.shapes import random_shape
from .world.world import Draw, samples

PROMPT_SEED = 2026  # of the held-out prompts; their videos have seeds 0, 1, 2, ...


@dataclass(frozen=True)
class Subjects:
    """A half of the built-in model's world, and how to tell what a video of it shows."""

    draw: Draw
    read: Callable[[np.ndarray], Reading | PictureReading]
    aspects: tuple[str, ...]


SUBJECTS = {
    "shapes": Subjects(random_shape, read_video, ("colour", "shape", "direction")),
    "pictures": Subjects(random_picture, read_pictures, ("picture", "direction", "place")),
}


@dataclass(frozen=True)
class Accuracy:
    """How many of `total` videos were right."""

    right: int
    total: int

    @property
    def value(self) -> float:
        return self.right / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of Wilson (1927), which holds near 100 % too."""
        z, n, p = 1.96, self.total, self.value
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, centre - half), min(1.0, centre + half)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.1%} ({low:.1%} to {high:.1%})"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `hummingbird evaluate nano`."""
    parser.add_argument("--model", default="nano", help="'nano' or a checkpoint (default: nano)")
    parser.add_argument("--subjects", choices=[*SUBJECTS], help="default: both")
    parser.add_argument("--prompts", type=int, default=200, help="held-out, of each (default: 200)")
    parser.add_argument("--steps", type=int, default=4, help="sampling steps (default: 4)")
    parser.add_argument("--guidance", type=float, default=7.5, help="default: 7.5")
    parser.add_argument("--frames", type=int, default=16, help="default: 16")
    parser.add_argument("--batch", type=int, default=8, help="videos at a time (default: 8)")
    parser.add_argument("--device", help="cpu, cuda ... (default: the best there is)")
    parser.add_argument("-o", "--output", type=Path, help="also write FILE.json and FILE.md")


def run(args: argparse.Namespace) -> None:
    """Prints the table, and writes it where asked to."""
    for option in ("prompts", "batch"):
        if vars(args)[option] < 1:
            raise InputError(f"got --{option} {vars(args)[option]}, expected at least 1")
    pipe = HummingbirdPipeline.from_pretrained(args.model, device=args.device)
    began = time.perf_counter()
    names = [args.subjects] if args.subjects else list(SUBJECTS)
    found = {
        name: evaluate(
            pipe,
            name,
            args.prompts,
            batch=args.batch,
            num_inference_steps=args.steps,
            guidance_scale=args.guidance,
            num_frames=args.frames,
        )
        for name in names
    }
    seconds = (time.perf_counter() - began) / (args.prompts * len(names))
    title = f"{Path(args.model).stem}, {args.steps} steps, guidance {args.guidance}"
    table = f"{title}, {args.frames} frames, {args.prompts} prompts each\n\n{to_table(found)}"
    print(table)
    if args.output:
        measured = {"seconds_a_video": round(seconds, 3), "device": str(pipe.device)}
        _write(args, table, found, measured)


def evaluate(
    pipe: HummingbirdPipeline,
    subjects: str,
    count: int,
    *,
    batch: int = 8,
    prompt_seed: int = PROMPT_SEED,
    **settings,
) -> dict[str, Accuracy]:
    """Accuracy of every aspect and of all together ("joint"), over `count` held-out prompts.

    Args:
        pipe: the model.
        subjects: "shapes" or "pictures".
        count: of the prompts.
        batch: videos that are made at once.
        prompt_seed: of the row of prompts.
        **settings: of the pipeline's call.
    """
    half = SUBJECTS[subjects]
    wanted = list(islice(samples(prompt_seed, half.draw, held_out=True), count))
    right = dict.fromkeys((*half.aspects, "joint"), 0)
    for start in tqdm(range(0, count, batch), desc=subjects, unit="batch", leave=False):
        part = wanted[start : start + batch]
        video = pipe([text for _, text in part], seed=start, **settings)
        for (scene, _), frames in zip(part, video.frames, strict=True):
            for aspect, ok in _check(half, scene.attributes, frames).items():
                right[aspect] += ok
    return {aspect: Accuracy(n, count) for aspect, n in right.items()}


def _check(half: Subjects, wanted: dict[str, str], frames: np.ndarray) -> dict[str, bool]:
    seen = half.read(frames)
    checks = {name: getattr(seen, name) == wanted.get(name, "") for name in half.aspects}
    return {**checks, "joint": all(checks.values())}


def to_table(found: dict[str, dict[str, Accuracy]]) -> str:
    """A Markdown table."""
    rows = ["| | aspect | right (95 % interval) |", "|---|---|---|"]
    for name, accuracies in found.items():
        rows += [f"| {name} | {aspect} | {value} |" for aspect, value in accuracies.items()]
    return "\n".join(rows)


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
