"""`hummingbird evaluate shapes`: does a model of the built-in family do what its prompts say?

Held-out captions in, videos out, read back by `shape_reader`. Reported with 95 % Wilson intervals.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from tqdm import tqdm

from ..pipeline import HummingbirdPipeline
from ..training.nano.shapes import Scene, samples
from ..video import atomic_output
from .shape_reader import read_video

PROMPT_SEED = 2026  # of the held-out prompts; their videos have seeds 0, 1, 2, ...
ASPECTS = ("colour", "shape", "direction", "joint")


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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `hummingbird evaluate shapes`."""
    parser.add_argument("--model", default="nano", help="'nano' or a checkpoint (default: nano)")
    parser.add_argument("--prompts", type=int, default=200, help="held-out prompts (default: 200)")
    parser.add_argument("--steps", type=int, default=4, help="sampling steps (default: 4)")
    parser.add_argument("--guidance", type=float, default=7.5, help="default: 7.5")
    parser.add_argument("--frames", type=int, default=16, help="default: 16")
    parser.add_argument("--batch", type=int, default=8, help="videos at a time (default: 8)")
    parser.add_argument("-o", "--output", type=Path, help="also write FILE.json and FILE.md")


def run(args: argparse.Namespace) -> None:
    """Prints the table, and writes it where asked to."""
    pipe = HummingbirdPipeline.from_pretrained(args.model)
    began = time.perf_counter()
    accuracies = evaluate(
        pipe,
        args.prompts,
        batch=args.batch,
        num_inference_steps=args.steps,
        guidance_scale=args.guidance,
        num_frames=args.frames,
    )
    seconds = (time.perf_counter() - began) / args.prompts
    title = f"{Path(args.model).stem}, {args.steps} steps, guidance {args.guidance}"
    print(
        table := f"{title}, {args.frames} frames, {args.prompts} prompts\n\n{to_table(accuracies)}"
    )
    if args.output:
        _write(args, table, accuracies, seconds)


def evaluate(
    pipe: HummingbirdPipeline, count: int, *, batch: int = 8, **settings
) -> dict[str, Accuracy]:
    """Accuracy of colour, shape, direction and all three, over `count` held-out prompts."""
    wanted = list(islice(samples(PROMPT_SEED, held_out=True), count))
    right = dict.fromkeys(ASPECTS, 0)
    for start in tqdm(range(0, count, batch), desc="videos", unit="batch"):
        part = wanted[start : start + batch]
        video = pipe([text for _, text in part], seed=start, **settings)
        for (scene, _), frames in zip(part, video.frames, strict=True):
            for aspect, ok in _check(scene, frames).items():
                right[aspect] += ok
    return {aspect: Accuracy(right[aspect], count) for aspect in ASPECTS}


def _check(scene: Scene, frames) -> dict[str, bool]:
    seen = read_video(frames)
    checks = {name: getattr(seen, name) == getattr(scene, name) for name in ASPECTS[:3]}
    return {**checks, "joint": all(checks.values())}


def to_table(accuracies: dict[str, Accuracy]) -> str:
    """A Markdown table."""
    rows = ["| aspect | right | 95 % interval |", "|---|---|---|"]
    for aspect, accuracy in accuracies.items():
        low, high = accuracy.interval
        rows.append(f"| {aspect} | {accuracy.value:.1%} | {low:.1%} to {high:.1%} |")
    return "\n".join(rows)


def _write(
    args: argparse.Namespace, table: str, accuracies: dict[str, Accuracy], seconds: float
) -> None:
    record = {
        "model": Path(args.model).stem,
        "prompts": args.prompts,
        "steps": args.steps,
        "guidance": args.guidance,
        "frames": args.frames,
        "accuracy": {name: a.value for name, a in accuracies.items()},
        "interval": {name: a.interval for name, a in accuracies.items()},
        "seconds_a_video": round(seconds, 3),
        "torch": torch.__version__,
    }
    for suffix, text in ((".json", json.dumps(record, indent=2)), (".md", table)):
        with atomic_output(args.output.with_suffix(suffix)) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
