"""Measures which ranking of a prompt's seeds finds a right video.

    python benchmarks/scripts/best_of.py --steps 1 4 -o benchmarks/results/best-of

Videos of held-out prompts, four seeds each, are judged by the readers of the built-in world. Each
ranking chooses one of the four: by agreement with the prompt, or by defects and even motion, as
`generate --best-of 4` does with and without `--agreement`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from recording import write_rows
from tqdm import tqdm

from hummingbird_core.bench.report import environment
from hummingbird_core.generation.best_of import agreement_with, best_video
from hummingbird_core.nano.evaluate import EVALUATION_SEED, Accuracy, check
from hummingbird_core.nano.readers.scene import read_scene
from hummingbird_core.nano.world.captions import Said
from hummingbird_core.nano.world.paths import NANO_FPS
from hummingbird_core.nano.world.stream import samples
from hummingbird_core.pipeline import HummingbirdPipeline

SEEDS = 4
RANKINGS = {"by defects and motion": "", "by agreement": "nano-agreement"}


@dataclass(frozen=True)
class Choice:
    """The videos of a prompt.

    Attributes:
        text: the prompt.
        frames: one for each seed, uint8 `[T, H, W, 3]`.
        right: whether each shows all that the prompt says.
    """

    text: str
    frames: list[np.ndarray]
    right: list[bool]

    def is_best_right(self, agreement: str) -> bool:
        """Return whether the best video by a ranking is right."""
        videos: Callable[[int], np.ndarray] = self.frames.__getitem__
        measure = agreement_with(self.text, agreement)
        _, facts = best_video(videos, range(len(self.frames)), measure, NANO_FPS)
        return self.right[facts["best_seed"]]


def choices(pipe: HummingbirdPipeline, count: int, steps: int) -> Iterator[Choice]:
    """Yield the videos of `count` held-out prompts."""
    stream = islice(samples(EVALUATION_SEED, held_out="wording"), count)
    for index, (_, said, text) in enumerate(stream):
        video = pipe([text] * SEEDS, seed=SEEDS * index, num_inference_steps=steps)
        frames = list(video.frames)
        yield Choice(text, frames, [is_right(said, one) for one in frames])


def is_right(said: Said, frames: np.ndarray) -> bool:
    """Return whether a video shows all that a caption says."""
    return all(right for _, right in check(said, read_scene(frames, NANO_FPS)))


def measure(pipe: HummingbirdPipeline, count: int, steps: int) -> dict[str, Any]:
    """Return one row of the table."""
    found = list(tqdm(choices(pipe, count, steps), total=count, desc=f"{steps} steps"))
    single = [right for choice in found for right in choice.right]
    row: dict[str, Any] = {"steps": steps, "one seed": str(Accuracy(sum(single), len(single)))}
    for name, agreement in RANKINGS.items():
        best = [choice.is_best_right(agreement) for choice in found]
        row[f"best of {SEEDS} {name}"] = str(Accuracy(sum(best), count))
    any_right = sum(any(choice.right) for choice in found)
    return {**row, f"any of the {SEEDS}": str(Accuracy(any_right, count))}


def main() -> None:
    """Measure all rows of a model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="nano")
    parser.add_argument("--prompts", type=int, default=100, help="prompts a row (default: 100)")
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 4])
    parser.add_argument("-o", "--output", type=Path, required=True, help="writes .json and .md")
    args = parser.parse_args()
    pipe = HummingbirdPipeline.from_pretrained(args.model)
    rows = [measure(pipe, args.prompts, steps) for steps in args.steps]
    facts = {"model": args.model, "prompts": args.prompts, "environment": environment(pipe.device)}
    write_rows(args.output, rows, **facts)


if __name__ == "__main__":
    main()
