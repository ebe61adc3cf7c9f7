"""Best of N: generate a prompt with several seeds, and keep the video that suits it best."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..agreement.base import cosine, unit_vector
from ..agreement.load import load_text_video, model_identity
from ..errors import InputError, memory_advice, one_line
from ..inputs.timed_captions import untimed
from ..seeds import video_seed
from ..terminal import get_logger
from ..vqa import find_defects, score_video

logger = get_logger(__name__)

MAX_COUNT = 64


@dataclass(frozen=True)
class BestOf:
    """Settings of the choice.

    Args:
        count: number of seeds, from the job's own on.
        agreement: model of agreement that ranks the videos, see `agreement.load`; "" ranks by the
            number of defects, then by even motion.
    """

    count: int
    agreement: str = ""

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MAX_COUNT:
            raise InputError(f"got best of {self.count}, expected 1 to {MAX_COUNT} seeds")

    def record(self) -> dict[str, Any]:
        """Return what determines the choice, for a video's metadata."""
        model = {"agreement_model": model_identity(self.agreement)} if self.agreement else {}
        return {"best_of": self.count, **model}

    def seeds(self, first: int) -> list[int]:
        """Return the seeds to try."""
        return [video_seed(first, index) for index in range(self.count)]


@dataclass(frozen=True)
class Candidate:
    """One seed's video, without its frames; `agreement` is NaN where it is not known."""

    seed: int
    agreement: float
    defects: tuple[str, ...]
    smoothness: float

    @property
    def rank(self) -> tuple[float, int, float]:
        """Sort key, higher is better."""
        known = -math.inf if math.isnan(self.agreement) else self.agreement
        return known, -len(self.defects), self.smoothness

    def record(self) -> dict[str, Any]:
        """Return the candidate as plain data for JSON."""
        known = {} if math.isnan(self.agreement) else {"agreement": round(self.agreement, 4)}
        return {"seed": self.seed, **known, "defects": list(self.defects)}


def best_video(
    generate: Callable[[int], np.ndarray],
    seeds: Iterable[int],
    agreement: Callable[[np.ndarray], float],
    fps: float,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the best video, and what is known about all of them.

    Args:
        generate: makes the video of a seed, uint8 `[T, H, W, 3]`.
        seeds: tried in this order; of equal videos the first stays.
        agreement: of a video with its prompt, NaN where it is not known.
        fps: frames per second.

    Returns:
        the frames, and {"best_seed": ..., "candidates": [...]}, the best one first.
    """
    candidates: list[Candidate] = []
    best = np.empty(0)
    for seed in seeds:
        frames = generate(seed)
        score = score_video(frames, fps)
        smoothness = -math.inf if score.motion_smoothness is None else score.motion_smoothness
        candidate = Candidate(seed, agreement(frames), tuple(find_defects(score)), smoothness)
        if all(candidate.rank > earlier.rank for earlier in candidates):
            best = frames
        candidates.append(candidate)
    candidates.sort(key=lambda candidate: candidate.rank, reverse=True)
    listed = [candidate.record() for candidate in candidates]
    return best, {"best_seed": candidates[0].seed, "candidates": listed}


def agreement_with(prompt: str, model: str) -> Callable[[np.ndarray], float]:
    """Return the agreement of videos with a prompt; what fails is NaN, with a warning.

    Args:
        prompt: with or without times.
        model: name of the model of agreement; "" gives NaN.
    """

    def measure(frames: np.ndarray) -> float:
        if not model:
            return math.nan
        try:
            loaded = load_text_video(model)
            text = unit_vector(loaded.embed_text(untimed(prompt)))
            return cosine(unit_vector(loaded.embed_video(frames)), text)
        except Exception as error:  # a model of another author may raise anything
            reason = memory_advice(error) or one_line(error)
            logger.warning("a video is ranked without its agreement: %s", reason)
            return math.nan

    return measure
