"""A picture of what the seed changes: a row for each prompt, eight seeds in it.

    python benchmarks/scripts/seed_sheet.py -o benchmarks/results/nano-seeds.webp

Of each seed stand the first, the middle and the last frame. With --model, of another nano model.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from hummingbird_core.nano.evaluate import SIZE
from hummingbird_core.nano.world.paths import NUM_FRAMES
from hummingbird_core.pipeline import HummingbirdPipeline

PROMPTS = (
    "a red circle moves right",
    "a small red circle moves right slowly on a light background",
    "a big triangle spins quickly",
    "a circle moves right",
    "a hummingbird flies up over a meadow",
    "a fox bobs at night",
    "an octopus",
    "a cat moves left in the desert, the camera zooms in",
    "a red circle moves left and a blue square moves right",
    "a panda moves up while a frog moves down over the sea",
)
SEEDS = 8
GAP, MARGIN, TITLE = 2, 10, 14  # pixels between frames, between seeds, and of a prompt


def row(pipe: HummingbirdPipeline, prompt: str, steps: int, guidance: float) -> np.ndarray:
    """Return the frames of all seeds of a prompt side by side, uint8 `[64, W, 3]`."""
    videos = pipe(
        [prompt] * SEEDS,
        num_frames=NUM_FRAMES,
        num_inference_steps=steps,
        guidance_scale=guidance,
        seed=0,
        **SIZE,
    ).frames
    cells = []
    for video in videos:  # [T, 64, 64, 3]
        for frame in video[[0, NUM_FRAMES // 2, NUM_FRAMES - 1]]:
            cells += [frame, np.full((len(frame), GAP, 3), 255, np.uint8)]
        cells.append(np.full((len(frame), MARGIN, 3), 255, np.uint8))
    return np.concatenate(cells, axis=1)


def sheet(rows: dict[str, np.ndarray]) -> Image.Image:
    """Return all rows below each other, each under its prompt."""
    height, width, _ = next(iter(rows.values())).shape
    image = Image.new("RGB", (width, len(rows) * (height + TITLE + GAP)), "white")
    draw = ImageDraw.Draw(image)
    for number, (prompt, frames) in enumerate(rows.items()):
        top = number * (height + TITLE + GAP)
        draw.text((GAP, top), prompt, fill="black")
        image.paste(Image.fromarray(frames), (0, top + TITLE))
    return image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="nano", help="'nano' or a checkpoint of its family")
    parser.add_argument("--steps", type=int, default=4, help="sampling steps")
    parser.add_argument("--guidance", type=float, default=7.5, help="guidance scale")
    parser.add_argument("-o", "--output", type=Path, required=True, help="FILE.webp")
    args = parser.parse_args()
    pipe = HummingbirdPipeline.from_pretrained(args.model)
    rows = {prompt: row(pipe, prompt, args.steps, args.guidance) for prompt in PROMPTS}
    sheet(rows).save(args.output, quality=85)


if __name__ == "__main__":
    main()
