"""Settings of a video: training defaults of the models, and the check of valid values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .errors import InputError
from .inputs.prompt_parts import fitting_parts, is_schedule, split_prompt
from .inputs.steps import CONSISTENCY_GRID, check_steps
from .inputs.text import check_prompt
from .seeds import video_seed

SIZE_MULTIPLE = 8  # pixels per latent pixel
MAX_SIDE = 16_384  # pixels
MAX_FRAMES = 1_000_000
MAX_GUIDANCE = 1000
MIN_FPS, MAX_FPS = 0.01, 1000  # frames per second; containers round rates beyond
MIN_LOOP_FRAMES = 3  # as many as a temporal convolution sees: with fewer it sees one frame twice
# False; True: the first frame follows the last one; "swing": a motion there and back.
Loop = bool | Literal["swing"]
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
        loop_words: words of motions that come back, one of which the prompt of a loop needs; None
            if any prompt can loop.
    """

    height: int
    width: int
    frames: tuple[int, ...]
    cfg_start_timestep: int = 0
    loop_words: tuple[str, ...] | None = None


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
    loop: Loop = False,
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
    check_loop(loop, num_frames)
    for prompt in prompts:
        fitting_parts(prompt, num_frames, fps)
        if loop == "swing" and is_schedule(prompt):
            raise InputError(
                "got a prompt over time with loop 'swing', expected a single text: on its way back "
                "the video would tell the story backwards; use loop alone"
            )


def check_loop(loop: Loop, num_frames: int) -> None:
    """Raise InputError unless a loop of so few frames is possible."""
    if loop not in (False, True, "swing"):
        raise InputError(f"got loop {loop!r}, expected true, false or 'swing': choose one")
    if loop and num_frames < MIN_LOOP_FRAMES:
        raise InputError(
            f"got loop with {num_frames} frames, expected at least {MIN_LOOP_FRAMES}, the frames "
            "that a temporal convolution sees: ask for more frames, 16 is a good start"
        )
    if loop == "swing" and num_frames % 2:
        raise InputError(
            f"got loop 'swing' with {num_frames} frames, expected an even number, as the way back "
            f"repeats neither end: try {num_frames + 1}"
        )


def sampled_frames(num_frames: int, loop: Loop) -> int:
    """Return how many frames to sample for a video; the way back of a swing is free."""
    return num_frames // 2 + 1 if loop == "swing" else num_frames


def check_can_loop(prompt: str, loop_words: tuple[str, ...] | None) -> None:
    """Raise InputError if a model that knows few motions was trained on none that comes back.

    Args:
        prompt: with or without parts over time, each of which has to come back.
        loop_words: see `ModelDefaults`.
    """
    if loop_words is None:
        return
    for part in split_prompt(prompt):
        if not set(loop_words) & set(re.findall(r"[^\W_]+", part.text.lower())):
            known = f"({', '.join(loop_words)})" if loop_words else "(this model knows none)"
            raise InputError(
                f"got loop with {part.text!r}, expected a motion that comes back {known}: choose "
                "loop 'swing' (--swing), with which any motion goes there and back"
            )


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
