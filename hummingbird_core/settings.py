"""Settings of a video: training defaults of the models, and the check of valid values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .errors import InputError
from .inputs.text import check_prompt
from .sampling.consistency import CONSISTENCY_GRID, check_steps
from .seeds import video_seed

SIZE_MULTIPLE = 8  # pixels per latent pixel
MAX_SIDE = 16_384  # pixels
MAX_FRAMES = 1_000_000
MAX_GUIDANCE = 1000
MIN_FPS, MAX_FPS = 0.01, 1000  # frames per second; containers round rates beyond
WINDOW_FRAMES = 16  # frames per window of a long video: the training length that all models share


@dataclass(frozen=True)
class ModelDefaults:
    """Training resolution and length: used as defaults; other values log a warning.

    Attributes:
        height: pixels.
        width: pixels.
        frames: lengths of the training clips.
        cfg_start_timestep: lowest timestep with classifier-free guidance (arXiv 2404.07724): below
            it, guidance only coarsens existing details.
    """

    height: int
    width: int
    frames: tuple[int, ...]
    cfg_start_timestep: int = 0


FULL_SIZE = ModelDefaults(height=320, width=512, frames=(16, 26))


def check_settings(
    prompts: Sequence[str],
    *,
    width: int | None,
    height: int | None,
    num_frames: int,
    num_inference_steps: int,
    guidance_scale: float,
    fps: float,
    seed: int,
    context_length: int | None = None,
    context_overlap: int | None = None,
) -> None:
    """Raise InputError for the first setting that no model supports."""
    for prompt in prompts or [""]:
        check_prompt(prompt)
    for name, size in (("width", width), ("height", height)):
        if size is not None and size > MAX_SIDE:
            raise InputError(
                f"got {name} {size}, expected at most {MAX_SIDE}: choose a smaller one"
            )
        if size is not None and (size < SIZE_MULTIPLE or size % SIZE_MULTIPLE):
            nearest = max(SIZE_MULTIPLE, round(size / SIZE_MULTIPLE) * SIZE_MULTIPLE)
            raise InputError(f"got {name} {size}, expected a multiple of 8: try {nearest}")
    if not 1 <= num_frames <= MAX_FRAMES:
        raise InputError(
            f"got {num_frames} frames, expected 1 to {MAX_FRAMES:,}: 16 is a good start"
        )
    check_steps(num_inference_steps, CONSISTENCY_GRID)
    if not 0 <= guidance_scale <= MAX_GUIDANCE:  # refuses NaN, too
        raise InputError(
            f"got guidance {guidance_scale}, expected 0 to {MAX_GUIDANCE}: 7.5 is the default"
        )
    if not MIN_FPS <= fps <= MAX_FPS:
        raise InputError(
            f"got {fps} frames per second, expected {MIN_FPS} to {MAX_FPS}: 8 is the default"
        )
    video_seed(seed, 0)
    _check_context(context_length, context_overlap)


def _check_context(length: int | None, overlap: int | None) -> None:
    if length is not None and length < 2:
        raise InputError(
            f"got a context length of {length} frames, expected at least 2: omit it to use the "
            "training length"
        )
    if overlap is not None and not 0 <= overlap < (length or WINDOW_FRAMES):
        raise InputError(
            f"got a context overlap of {overlap} frames, expected 0 to "
            f"{(length or WINDOW_FRAMES) - 1}, less than a window: half of it is a good start"
        )
