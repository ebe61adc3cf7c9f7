"""A guard against reward hacking: a held-out metric that is not in the loss.

Optimizing a reward long enough exploits the flaws of its model (Goodhart's law; measured in arXiv
2210.10760). So a held-out metric scores the same validation clips. When the reward still rises
while the metric falls, it is time to stop, or to use the weights of the step with the highest
metric.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ...nano.readers.shapes import ShapeReading, read_shape_scene
from ...terminal import get_logger
from .base import Reward
from .shapes import read_caption

logger = get_logger(__name__)

SIGNIFICANT = 2.0  # standard errors of the mean difference


@torch.no_grad()
def evaluate_reward(reward: Reward, frames: Tensor, captions: list[str], seed: int = 0) -> Tensor:
    """Score whole clips `[B, 3, T, H, W]` in -1..1 with fixed random choices: `[B]`."""
    generator = torch.Generator().manual_seed(seed)
    chosen = reward.frames_needed(frames.shape[2], generator).to(frames.device)
    return reward(frames[:, :, chosen], captions, generator).float().cpu()


@dataclass(frozen=True)
class MetricResult:
    """Scores `[N]` of the same N prompts and seeds after a training step."""

    step: int
    reward: Tensor
    held_out: Tensor


@dataclass
class RewardLog:
    """Reward and held-out metric over a run, with a warning when they diverge.

    Attributes:
        results: in the order of the steps.
        find_weights: returns the file with the weights of a step, if they were kept.
    """

    results: list[MetricResult] = field(default_factory=list)
    find_weights: Callable[[int], Path | None] = lambda step: None

    @property
    def best(self) -> MetricResult:
        """Return the step with the highest held-out metric; the log must not be empty."""
        return max(self.results, key=lambda result: float(result.held_out.mean()))

    @property
    def is_hacking(self) -> bool:
        """Return whether the reward rose and the metric fell significantly since `best`."""
        if not self.results:
            return False
        last, best = self.results[-1], self.best
        rise = _standard_errors(last.reward - best.reward)
        fall = _standard_errors(best.held_out - last.held_out)
        return rise > SIGNIFICANT and fall > SIGNIFICANT

    def add(self, step: int, reward: Tensor, held_out: Tensor) -> None:
        """Add the scores `[N]` of validation clips; log a warning if `is_hacking`."""
        self.results.append(MetricResult(step, reward, held_out))
        if self.is_hacking:
            best = self.best
            logger.warning(
                "reward hacking at step %d: since step %d the reward rose from %.3f to %.3f, while "
                "the held-out judge fell from %.3f to %.3f; stop, %s",
                step,
                best.step,
                best.reward.mean(),
                reward.mean(),
                best.held_out.mean(),
                held_out.mean(),
                self._advice(best.step),
            )

    def _advice(self, step: int) -> str:
        if path := self.find_weights(step):
            return f"or use the weights of step {step}: {path}"
        return (
            f"and train again with training.steps={step}, as its weights were not kept "
            "(training.keep_best keeps the best)"
        )


def _standard_errors(difference: Tensor) -> float:
    """Return the mean of paired differences `[N]` in units of its standard error."""
    if len(difference) < 2:
        return 0.0  # a single clip has no standard error
    error = difference.std() / len(difference) ** 0.5
    return float(difference.mean() / error.clamp(min=1e-8))


@dataclass(frozen=True)
class ShapeAccuracy:
    """Share of colour, shape and direction a clip has right: 0, 1/3, 2/3 or 1.

    A count has no gradient, so it cannot be trained on.
    """

    name: str = "shape_reader"

    def __call__(self, frames: Tensor, captions: list[str], generator: torch.Generator) -> Tensor:
        """Score clips `[B, 3, T, H, W]` in -1..1: `[B]`; `generator` is not used.

        Raises:
            InputError: a caption lacks a colour, a shape or a direction.
        """
        pixels = ((frames.detach() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        clips = pixels.permute(0, 2, 3, 4, 1).cpu().numpy()  # [B, T, H, W, 3]
        pairs = zip(clips, captions, strict=True)
        return torch.tensor([_share_right(read_shape_scene(clip), text) for clip, text in pairs])

    def frames_needed(self, num_frames: int, generator: torch.Generator) -> Tensor:
        """Return all frames."""
        return torch.arange(num_frames)


def _share_right(seen: ShapeReading, caption: str) -> float:
    read = (seen.colour, seen.shape, seen.direction)
    return sum(got == wanted for got, wanted in zip(read, read_caption(caption), strict=True)) / 3
