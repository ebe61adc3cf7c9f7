"""Make the moving pictures of the README with the built-in model.

    .venv/bin/python tools/make_readme_videos.py

writes docs/images/nano.webp, loop.webp and story.webp, with the seeds below. Run it again when the
built-in model changes, look at the results, and adapt what the README says about them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from hummingbird_core.pipeline import HummingbirdPipeline

IMAGES = Path(__file__).parents[1] / "docs" / "images"
PROMPTS = (
    "a hummingbird flies up over a meadow",
    "a small fox bobs at night",
    "a rocket moves up in the desert, the camera zooms out",
    "a panda moves right over the sea",
    "a red circle moves right on a light background",
    "a cat swings in the desert",
    "a blue triangle drifts down on a dark background",
    "a big mushroom hovers over a meadow, the camera pans left",
)
COLUMNS, FRAMES, SEED = 4, 26, 0
LOOP, LOOP_FRAMES = "a fox bobs at night", 30
STORY, STORY_FRAMES = "0: a cat moves right; 16: a fox moves right; 32: a fish moves right", 48
SCALE, MILLISECONDS = 2, 125  # 8 frames a second


def main() -> None:
    pipe = HummingbirdPipeline.from_pretrained("nano")
    videos = pipe(list(PROMPTS), num_frames=FRAMES, seed=SEED).frames  # [8, T, 64, 64, 3]
    rows = [
        np.concatenate(videos[i : i + COLUMNS], axis=2) for i in range(0, len(PROMPTS), COLUMNS)
    ]
    write("nano.webp", np.concatenate(rows, axis=1))
    write("loop.webp", pipe(LOOP, num_frames=LOOP_FRAMES, loop=True, seed=SEED).frames[0])
    write("story.webp", pipe(STORY, num_frames=STORY_FRAMES, seed=SEED).frames[0])


def write(name: str, frames: np.ndarray) -> None:
    """Write uint8 frames `[T, H, W, 3]`, enlarged, as a repeating WebP."""
    size = (SCALE * frames.shape[2], SCALE * frames.shape[1])
    images = [Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC) for frame in frames]
    images[0].save(
        IMAGES / name,
        save_all=True,
        append_images=images[1:],
        duration=MILLISECONDS,
        loop=0,
        quality=80,
    )


if __name__ == "__main__":
    main()
