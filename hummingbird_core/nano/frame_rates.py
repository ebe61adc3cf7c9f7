"""Measures whether a nano model's motions take the same seconds at any frame rate.

A model that ignores the frame rate moves by the same pixels in each frame: half as fast at 4 frames
a second as at 8. Prompts that say "slowly" or "quickly" fix the speed, within the range that the
world calls so.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from ..pipeline import HummingbirdPipeline
from .evaluate import SIZE, Accuracy
from .readers.scene import SceneReading, read_scene
from .world.captions import Said
from .world.paths import DIRECTIONS, NUM_FRAMES, QUICKEST_SPEEDS, SLOWEST_SPEEDS, Clip
from .world.stream import samples

RATES = (4.0, 8.0, 16.0)  # frames a second
TOLERANCE = 0.25  # of the ends of the range
SPEEDS = {"slowly": SLOWEST_SPEEDS, "quickly": QUICKEST_SPEEDS}
PROMPT_SEED = 2027


def evaluate_frame_rates(
    pipe: HummingbirdPipeline, count: int, *, batch: int = 8, **settings
) -> dict[float, Accuracy]:
    """Make videos of prompts that say how fast one subject crosses the frame; read its speed.

    Args:
        pipe: the model.
        count: number of prompts of each rate.
        batch: videos per call of the pipeline.
        **settings: arguments of the pipeline's call.

    Returns:
        For each of `RATES`, how often the speed is right within a quarter, in pixels a second. At
        4 frames a second most clips are slow: nothing quick stays in the frame for four seconds.
    """
    settings = {**SIZE, **settings, "num_frames": NUM_FRAMES}
    found = {}
    for fps in RATES:
        wanted = list(islice(_paced_prompts(fps), count))
        right = 0
        for start in range(0, count, batch):
            part = wanted[start : start + batch]
            video = pipe([text for _, text in part], seed=start, fps=fps, **settings)
            readings = [read_scene(frames, fps) for frames in video.frames]
            right += sum(has_said_speed(s, r) for (s, _), r in zip(part, readings, strict=True))
        found[fps] = Accuracy(right, count)
    return found


def _paced_prompts(fps: float) -> Iterator[tuple[Said, str]]:
    for _, said, text in samples(PROMPT_SEED, Clip(NUM_FRAMES, fps), held_out="wording"):
        first = said.mentions[0]
        is_alone = len(said.mentions) == 1 and not said.camera
        if is_alone and first.pace and first.motion in DIRECTIONS:
            yield said, text


def has_said_speed(said: Said, seen: SceneReading) -> bool:
    """Return whether the only subject crosses the frame as fast as its caption says."""
    mention = said.mentions[0]
    if len(seen.subjects) != 1 or seen.subjects[0].motion != mention.motion:
        return False
    low, high = SPEEDS[mention.pace or ""]
    return (1 - TOLERANCE) * low <= seen.subjects[0].speed <= (1 + TOLERANCE) * high
