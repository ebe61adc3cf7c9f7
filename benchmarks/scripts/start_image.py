"""Measures whether the frames after a start image go on with its subject.

    python benchmarks/scripts/start_image.py -o benchmarks/results/start-image

Scenes are drawn; their first frames are the start images, and their captions the prompts, once of
the same scene and once of the next one, whose subject is another. Videos without a start image,
with the drawn frame put in front, say what chance gives.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
from recording import write_rows
from tqdm import tqdm

from hummingbird_core.bench.report import environment
from hummingbird_core.nano.evaluate import EVALUATION_SEED
from hummingbird_core.nano.readers.scene import SubjectReading, read_scene
from hummingbird_core.nano.world.paths import NANO_FPS
from hummingbird_core.nano.world.stream import samples
from hummingbird_core.pipeline import HummingbirdPipeline

KEPT = (0, 1, 4)  # frames


@dataclass(frozen=True)
class Start:
    """A drawn scene.

    Attributes:
        frames: uint8 `[T, H, W, 3]`.
        text: its caption.
        subjects: its subject behind 1 and behind 4 kept frames.
    """

    frames: np.ndarray
    text: str
    subjects: dict[int, SubjectReading | None]


def starts(count: int) -> Iterator[Start]:
    """Yield drawn scenes of one subject, with held-out captions."""
    stream = samples(EVALUATION_SEED, held_out="wording")
    single = ((scene, text) for scene, said, text in stream if len(said.mentions) == 1)
    for scene, text in islice(single, count):
        frames = (scene.render() * 255).round().byte().permute(1, 2, 3, 0).numpy()
        subjects = {kept: first_subject(frames[kept:]) for kept in KEPT if kept}
        yield Start(frames, text, subjects)


def measure(
    pipe: HummingbirdPipeline, drawn: list[Start], steps: int, kept: int, is_own_prompt: bool
) -> dict[str, Any]:
    """Return one row of the table."""
    found = []
    for index, start in enumerate(drawn):
        text = start.text if is_own_prompt else drawn[(index + 1) % len(drawn)].text
        image = start.frames[:kept] if kept else None
        video = pipe(text, start_image=image, num_inference_steps=steps, seed=index).frames[0]
        found.append(compare(video, start, max(kept, 1)))
    subjects, jumps, seams = (np.array(column, float) for column in zip(*found, strict=True))
    return {
        "steps": steps,
        "kept frames": kept,
        "prompt": "of the frame" if is_own_prompt else "of another scene",
        "subject of the frame": f"{subjects.mean():.0%}",
        "jump, px": round(float(np.nanmedian(jumps)), 1),
        "seam": round(float(np.median(seams)), 2),
    }


def compare(video: np.ndarray, drawn: Start, kept: int) -> tuple[bool, float, float]:
    """Return whether the subject is that of the drawn frames, how far it jumped, and the seam.

    The jump is the distance in pixels from where the drawn scene has the subject in the first new
    frame, NaN if none is seen; the seam is the change at this frame against the mean change after.
    """
    wanted, seen = drawn.subjects[kept], first_subject(video[kept:])
    video = np.concatenate([drawn.frames[:kept], video[kept:]]).astype(np.float32)
    changes = np.abs(np.diff(video, axis=0)).mean(axis=(1, 2, 3))
    seam = float(changes[kept - 1] / changes[kept:].mean())
    if wanted is None or seen is None:
        return False, float("nan"), seam
    jump = float(np.hypot(*np.subtract(wanted.start, seen.start)))
    return wanted.look == seen.look, jump, seam


def first_subject(frames: np.ndarray) -> SubjectReading | None:
    """Return the clearest subject of a video."""
    return next(iter(read_scene(frames, NANO_FPS).subjects), None)


def main() -> None:
    """Measure all rows of a model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="nano")
    parser.add_argument("--videos", type=int, default=24, help="scenes a row (default: 24)")
    parser.add_argument("--steps", type=int, nargs="+", default=[4, 8])
    parser.add_argument("-o", "--output", type=Path, required=True, help="writes .json and .md")
    args = parser.parse_args()
    pipe = HummingbirdPipeline.from_pretrained(args.model)
    drawn = list(starts(args.videos))
    cases = list(product(args.steps, KEPT, (True, False)))
    rows = [measure(pipe, drawn, *case) for case in tqdm(cases)]
    facts = {"model": args.model, "videos": args.videos, "environment": environment(pipe.device)}
    write_rows(args.output, rows, **facts)


if __name__ == "__main__":
    main()
