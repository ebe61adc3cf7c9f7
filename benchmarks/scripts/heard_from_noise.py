"""Measures what a teacher's first prediction hears: the differences that words make.

    python benchmarks/scripts/heard_from_noise.py MODEL -o benchmarks/results/heard-from-noise

From pure noise the best prediction is the mean of all clips with the caption, E[x_0 | c]. For two
captions, D = E[x_0 | c] - E[x_0 | c'] is estimated from the world's clips, and d is the same
difference of the U-Net's predictions. heard = <d, D> / <D, D>: 1 for a U-Net that hears all that
tells the two apart, 0 for one that hears nothing of it. Sampling can't mend this later: where a
subject is and how it moves is decided in the first steps.
"""

from __future__ import annotations

import argparse
import random
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from recording import write_results
from torch import Tensor

from hummingbird_core.bench.report import environment
from hummingbird_core.devices import best_device
from hummingbird_core.nano.latents import NANO_SCALING_FACTOR, image_latents
from hummingbird_core.nano.world.captions import Mention, Said, write
from hummingbird_core.nano.world.paths import NANO_FPS, Clip
from hummingbird_core.nano.world.scene import random_scene
from hummingbird_core.pipeline import HummingbirdPipeline
from hummingbird_core.sampling.schedule import predict_x0
from hummingbird_core.training.distillation.noise import LAST_TIMESTEP

NOISES = 16  # predictions of which the mean is taken
CIRCLE, SQUARE = ("circle", "red"), ("square", "blue")
CAT, FOX, ROCKET = (("cat", None), ("fox", None), ("rocket", None))

Moving = tuple[tuple[str, str | None], str]  # look and motion of a subject


@dataclass(frozen=True)
class Contrast:
    """Two captions that differ in what the name says."""

    name: str
    one: tuple[Moving, ...]
    other: tuple[Moving, ...]


CONTRASTS = (
    Contrast("direction of a shape", ((CIRCLE, "right"),), ((CIRCLE, "left"),)),
    Contrast("direction of a picture", ((FOX, "up"),), ((FOX, "down"),)),
    Contrast("crossing or bobbing", ((CAT, "right"),), ((CAT, "bob"),)),
    Contrast("spinning or hovering", ((CAT, "spin"),), ((CAT, "hover"),)),
    Contrast("swinging or bobbing", ((CAT, "swing"),), ((CAT, "bob"),)),
    Contrast("color", ((CIRCLE, "right"),), ((("circle", "blue"), "right"),)),
    Contrast("picture", ((CAT, "right"),), ((FOX, "right"),)),
    Contrast(
        "pair: both directions turned",
        ((CIRCLE, "right"), (SQUARE, "right")),
        ((CIRCLE, "left"), (SQUARE, "left")),
    ),
    Contrast(
        "pair: one direction turned",
        ((CIRCLE, "right"), (SQUARE, "right")),
        ((CIRCLE, "right"), (SQUARE, "left")),
    ),
    Contrast(
        "pair: directions exchanged",
        ((CIRCLE, "right"), (SQUARE, "left")),
        ((CIRCLE, "left"), (SQUARE, "right")),
    ),
    Contrast(
        "pair of pictures: directions exchanged",
        ((CAT, "up"), (ROCKET, "down")),
        ((CAT, "down"), (ROCKET, "up")),
    ),
)


def said(subjects: tuple[Moving, ...]) -> Said:
    """Return the statements of a caption about subjects on a dark background."""
    mentions = [Mention(name, color, motion=motion) for (name, color), motion in subjects]
    return Said(tuple(mentions), tone="dark")


def mean_clip(what: Said, clips: int, seed: int) -> Tensor:
    """Return the mean latents `[4, T, h, w]` of random clips of which a caption is true."""
    rng, total = random.Random(seed), torch.zeros(())
    for _ in range(clips):
        frames = random_scene(rng, Clip(), what).render().transpose(0, 1)  # [T, 3, H, W]
        total = total + NANO_SCALING_FACTOR * image_latents(frames * 2 - 1).transpose(0, 1)
    return total / clips


@torch.no_grad()
def mean_prediction(pipe: HummingbirdPipeline, caption: str) -> Tensor:
    """Return the mean x_0 `[4, T, h, w]` that the U-Net predicts from pure noise."""
    generator = torch.Generator().manual_seed(0)
    sample = torch.randn(NOISES, 4, Clip().num_frames, 8, 8, generator=generator)
    t = torch.full((NOISES,), LAST_TIMESTEP)
    context = pipe.encode_prompt(caption).expand(NOISES, -1, -1)
    eps = pipe.unet(sample, t, context, fps=torch.full((NOISES,), NANO_FPS))
    return predict_x0(sample, eps, t).mean(dim=0)


def row(pipe: HummingbirdPipeline, contrast: Contrast, clips: int) -> dict[str, str | float]:
    """Return how much of a contrast the U-Net hears."""
    one, other = said(contrast.one), said(contrast.other)
    captions = [write(what, random.Random(1)) for what in (one, other)]
    # Two estimates of D: the noise of one is independent of the other's, so their product has the
    # mean <D, D>.
    first, second = (mean_clip(one, clips, s) - mean_clip(other, clips, s + 1) for s in (1, 3))
    predicted = mean_prediction(pipe, captions[0]) - mean_prediction(pipe, captions[1])
    power = (first * second).sum()
    heard = (predicted * (first + second) / 2).sum() / power
    return {
        "contrast": contrast.name,
        "one caption": captions[0],
        "the other": captions[1],
        "heard": heard.item(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a teacher of the built-in family, as for --model")
    parser.add_argument("--clips", type=int, default=64, help="of each of two estimates (64)")
    parser.add_argument("-o", "--output", type=Path, required=True, help="writes .json and .md")
    args = parser.parse_args()
    pipe = HummingbirdPipeline.from_pretrained(args.model, device="cpu", dtype=torch.float32)
    rows = [row(pipe, contrast, args.clips) for contrast in CONTRASTS]
    result = {
        "command": shlex.join(["python", "benchmarks/scripts/heard_from_noise.py", *sys.argv[1:]]),
        "environment": environment(best_device()),
        "rows": rows,
    }
    write_results(args.output, result, rows)


if __name__ == "__main__":
    main()
