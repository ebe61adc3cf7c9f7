"""Seams, content and motion of long videos of the built-in model, and their peak memory.

    python benchmarks/scripts/long_video.py -o benchmarks/results/long-video

The same held-out prompts are sampled with several window settings, including one without windows
and one of concatenated windows, whose seams must be visible. For each setting: seams
(`evaluation/seams.py`), attributes read from the videos, and motion of the shape. Then the peak
memory of videos of growing length.
"""

from __future__ import annotations

import argparse
import json
import random
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from hummingbird_core.bench.peak_memory import MIB, in_fresh_process, measure_peak
from hummingbird_core.bench.report import environment, markdown_table
from hummingbird_core.evaluation.seams import measure_seams
from hummingbird_core.files import atomic_write
from hummingbird_core.nano.evaluate import EVALUATION_SEED
from hummingbird_core.nano.readers.shapes import read_shape_scene
from hummingbird_core.nano.world.captions import Mention, Said, write
from hummingbird_core.nano.world.looks import COLORS, SHAPES
from hummingbird_core.nano.world.paths import DIRECTIONS
from hummingbird_core.nano.world.stream import has_held_out_combination, is_held_out
from hummingbird_core.pipeline import HummingbirdPipeline, to_uint8
from hummingbird_core.sampling import initial_noise, step_noises
from hummingbird_core.sampling.context_windows import ContextWindows, freenoise_shuffle

ANY_LENGTH = 10**6
DEFAULT = ContextWindows.default(16, keyframe_pass=True)
FOREGROUND = 0.15  # least distance from the background, RGB in 0..1
BATCH = 4
MEMORY_SIZE = 128  # pixels
PROMPT = "a red circle moves right"


@dataclass(frozen=True)
class Way:
    """A way to sample a long video."""

    name: str
    windows: ContextWindows
    is_noise_shared: bool = True


WAYS = (
    Way("in one piece (no windows)", ContextWindows(ANY_LENGTH, 0)),
    Way("overview, windows share 12 (default)", DEFAULT),
    Way("overview, windows share 8", ContextWindows(16, 8, keyframe_pass=True)),
    Way("overview, windows share 4", ContextWindows(16, 4, keyframe_pass=True)),
    Way("windows share 8, shared noise", ContextWindows(16, 8)),
    Way("windows share 8, own noise", ContextWindows(16, 8), is_noise_shared=False),
    Way("windows share nothing", ContextWindows(16, 0), is_noise_shared=False),
)


def held_out_prompts() -> Iterator[tuple[str, str]]:
    """Directions, and prompts that training has not seen of one shape that moves so."""
    rng = random.Random(EVALUATION_SEED)
    while True:
        shape, color, direction = (rng.choice(list(n)) for n in (SHAPES, COLORS, DIRECTIONS))
        said = Said((Mention(shape, color, motion=direction),))
        prompt = write(said, rng)
        if is_held_out(prompt) and not has_held_out_combination(said):
            yield direction, prompt


def make_videos(
    pipe: HummingbirdPipeline, wanted: list[str], num_frames: int, steps: int, way: Way
) -> Iterator[np.ndarray]:
    """One video a prompt, with the seeds 0, 1, 2, ..."""
    for first in range(0, len(wanted), BATCH):
        texts = wanted[first : first + BATCH]
        shape = (len(texts), 4, num_frames, pipe.trained.height // 8, pipe.trained.width // 8)
        noise = initial_noise(shape, first)
        with torch.inference_mode():
            latents = pipe.sample(
                pipe.encode_prompt(texts),
                latents=freenoise_shuffle(noise, way.windows) if way.is_noise_shared else noise,
                noises=step_noises(shape, first),
                num_inference_steps=steps,
                windows=way.windows,
            )
            yield from to_uint8(pipe.decode(latents))


def measure(
    pipe: HummingbirdPipeline,
    wanted: list[tuple[str, str]],
    num_frames: int,
    steps: int,
    way: Way,
) -> dict:
    """One row of the table."""
    began = time.perf_counter()
    videos = list(make_videos(pipe, [text for _, text in wanted], num_frames, steps, way))
    seconds = (time.perf_counter() - began) / len(videos)
    # A video in one piece has no borders: its row says what chance gives at those of the others.
    cut = way.windows if way.windows.are_needed(num_frames) else DEFAULT
    seams = measure_seams(videos, cut)
    pairs = [(frames, direction) for (direction, _), frames in zip(wanted, videos, strict=True)]
    paths = [path(*pair) for pair in pairs]
    return {
        "frames": num_frames,
        "way": way.name,
        "inside": round(seams.inside, 2),
        "at borders": round(seams.at_borders, 2),
        "border larger": f"{seams.larger:.3f} ± {seams.error:.3f}",
        "beyond 95 %": f"{seams.beyond:.1%}",
        "seams": "visible" if seams.are_visible else "none",
        "direction right": f"{np.mean([_is_right(*pair) for pair in pairs]):.0%}",
        "way made, px": round(float(np.median([p[-1] - p[0] for p in paths])), 1),
        "largest step back, px": round(float(np.median([step_back(p) for p in paths])), 1),
        "seconds": round(seconds, 2),
        "measure": asdict(seams),
    }


def _is_right(frames: np.ndarray, direction: str) -> bool:
    return read_shape_scene(frames).direction == direction


def path(frames: np.ndarray, direction: str) -> np.ndarray:
    """Return how far the shape has come in a direction, in pixels: `[T]`."""
    video = frames.astype(np.float32) / 255
    border = np.concatenate([video[:, 0], video[:, -1], video[:, :, 0], video[:, :, -1]], axis=1)
    distance = np.linalg.norm(video - np.median(border.reshape(-1, 3), axis=0), axis=-1)
    distance[distance < FOREGROUND] = 0
    rows, columns = np.indices(distance.shape[1:])
    mass = distance.sum(axis=(1, 2)) + 1e-6
    x, y = ((distance * grid).sum(axis=(1, 2)) / mass for grid in (columns, rows))
    dx, dy = DIRECTIONS[direction]
    return dx * x + dy * y


def step_back(place: np.ndarray) -> float:
    """The farthest that the shape ever comes back from where it was."""
    return float((np.maximum.accumulate(place) - place).max())


def peak_memory(num_frames: int, context_length: int | None) -> float:
    """MiB that a video of 128x128 takes above the model, at most."""
    pipe = HummingbirdPipeline.from_pretrained("nano", device="cpu")

    def make(count: int) -> torch.Tensor:
        size = {"width": MEMORY_SIZE, "height": MEMORY_SIZE}
        video = pipe(PROMPT, num_frames=count, context_length=context_length, **size)
        return torch.from_numpy(video.frames)

    make(2)  # what the first call allocates for good
    return measure_peak(lambda: make(num_frames)).above / MIB


def memory_rows(counts: list[int]) -> list[dict]:
    return [
        {
            "frames": count,
            "the frames themselves, MiB": round(3 * MEMORY_SIZE**2 * count / MIB, 1),
            "in windows, MiB": round(in_fresh_process(peak_memory, count, None)),
            "in one piece, MiB": round(in_fresh_process(peak_memory, count, count)),
        }
        for count in counts
    ]


def to_markdown(result: dict) -> str:
    rows = [{k: v for k, v in row.items() if k != "measure"} for row in result["ways"]]
    where = ", ".join(f"{key} {value}" for key, value in result["environment"].items())
    return "\n\n".join(
        (
            f"# Long videos of {result['model']}, {result['steps']} steps",
            f"`{result['command']}`",
            f"Medians over {result['videos']} held-out prompts. *Inside* and *at borders*: "
            "difference of two frames, in levels of 255. *Border larger*: how often a border's "
            "difference exceeds one inside windows, with its standard error; 0.5 is no seam. "
            "*Beyond 95 %*: borders above the 95th percentile inside; 5 % is no seam. *Largest "
            "step back*: how far the shape ever comes back against the direction asked for.",
            markdown_table(rows),
            f"## Peak memory above the model, {MEMORY_SIZE}x{MEMORY_SIZE}",
            markdown_table(result["memory"]),
            f"Measured with: {where}.\n",
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="nano")
    parser.add_argument("--videos", type=int, default=24, help="prompts a way (default: 24)")
    parser.add_argument("--frames", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--memory-frames", type=int, nargs="*", default=[16, 64, 256, 512])
    parser.add_argument("-o", "--output", type=Path, required=True, help="writes .json and .md")
    args = parser.parse_args()
    pipe = HummingbirdPipeline.from_pretrained(args.model)
    wanted = list(islice(held_out_prompts(), args.videos))
    jobs = [(num_frames, way) for num_frames in args.frames for way in WAYS]
    result = {
        "command": shlex.join(["python", *sys.argv]),
        "model": Path(args.model).stem,
        "steps": args.steps,
        "videos": args.videos,
        "environment": environment(pipe.device),
        "ways": [measure(pipe, wanted, n, args.steps, way) for n, way in tqdm(jobs)],
        "memory": memory_rows(args.memory_frames),
    }
    for suffix, text in ((".json", json.dumps(result, indent=2)), (".md", to_markdown(result))):
        with atomic_write(args.output.with_suffix(suffix)) as temporary:
            temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
