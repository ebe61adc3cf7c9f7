"""Scores of the validation videos: a held-out metric, and the rewards of the loss if any."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...devices import DTYPES
from ...files import atomic_write
from ..loop.distributed import distributed_state
from ..loop.modules import freeze
from ..loop.progress import read_losses
from ..outside import no_options
from ..rewards.base import Reward
from ..rewards.held_out import MetricResult, RewardLog, ShapeAccuracy, evaluate_reward
from ..rewards.loading import load_reward
from .losses import RewardFeedback
from .step import Objective

if TYPE_CHECKING:
    from .recipe import Recipe

PROBE_SIZE = 64  # pixels of a side
SHAPE_READER = "shape_reader"  # metric of the built-in model's world; not differentiable


@dataclass
class HeldOutMetric:
    """Scores of every validation, in a file; warns when reward and held-out metric diverge.

    Attributes:
        path: file of one JSON object a line; a resumed run appends to it.
        rewards: terms of the loss, if any; their weighted sum is compared.
        held_out: metric that is not in the loss.
    """

    path: Path
    rewards: Sequence[RewardFeedback]
    held_out: Reward
    log: RewardLog = field(default_factory=RewardLog)

    def __post_init__(self) -> None:
        for line in read_losses(self.path):
            held_out = torch.tensor(line["held_out"])
            reward = torch.tensor(line.get("reward", [0.0] * len(held_out)))
            self.log.results.append(MetricResult(line["step"], reward, held_out))

    def probe(self, prompts: list[str]) -> None:
        """Score black videos, so that prompts a metric cannot read fail before training."""
        if not prompts:
            return
        black = -torch.ones(
            len(prompts), 3, 2, PROBE_SIZE, PROBE_SIZE, device=distributed_state().device
        )
        for reward in (*(r.reward for r in self.rewards), self.held_out):
            evaluate_reward(reward, black, prompts)

    def add(self, step: int, videos: Tensor, prompts: list[str]) -> bool:
        """Score videos `[N, 3, T, H, W]` in -1..1 of the same N prompts in each call.

        Returns:
            Whether the held-out metric is the highest so far.
        """
        self.log.results = [r for r in self.log.results if r.step < step]
        held_out = evaluate_reward(self.held_out, videos, prompts)
        scores = [r.weight * evaluate_reward(r.reward, videos, prompts) for r in self.rewards]
        reward = torch.stack(scores).sum(dim=0) if scores else torch.zeros_like(held_out)
        self.log.add(step, reward, held_out)
        self._write()
        return self.log.best.step == step

    @property
    def means(self) -> dict[str, float]:
        """Return the mean scores of the last videos, by what has scored them."""
        last = self.log.results[-1]
        rewards = {"reward": last.reward.mean().item()} if self.rewards else {}
        return {"judge": last.held_out.mean().item(), **rewards}

    def _write(self) -> None:
        lines = (
            {
                "step": result.step,
                **({"reward": result.reward.tolist()} if self.rewards else {}),
                "held_out": result.held_out.tolist(),
            }
            for result in self.log.results
        )
        with atomic_write(self.path) as temporary:
            temporary.write_bytes("".join(json.dumps(line) + "\n" for line in lines).encode())


def make_held_out_metric(
    recipe: Recipe,
    objectives: Mapping[str, Objective],
    path: Path,
    find_weights: Callable[[int], Path | None] = lambda step: None,
) -> HeldOutMetric | None:
    """Return the held-out metric of a recipe, or None without one.

    Args:
        recipe: names the metric.
        objectives: of the run.
        path: file of the scores.
        find_weights: returns the file with the weights of a step, if they were kept.

    Raises:
        InputError: a validation prompt cannot be read by the rewards or the metric.
    """
    settings = recipe.validation
    rewards = [term for term in objectives.values() if isinstance(term, RewardFeedback)]
    if settings.judge is None:
        return None
    held_out = load_held_out(settings.judge, settings.judge_weights, settings.judge_options)
    if isinstance(held_out, nn.Module):
        freeze(held_out, recipe.training.precision)
    metric = HeldOutMetric(path, rewards, held_out, RewardLog(find_weights=find_weights))
    precision = recipe.training.precision
    with torch.autocast(
        distributed_state().device.type, DTYPES[precision], enabled=precision != "fp32"
    ):
        metric.probe(list(settings.prompts))
    return metric


def load_held_out(
    kind: str, weights: str | None, options: Mapping[str, Any] | None = None
) -> Reward:
    """Load a reward model by its kind, or the reader of shapes."""
    if kind != SHAPE_READER:
        return load_reward(kind, weights, options)
    no_options(kind, "judge", options or {})
    return ShapeAccuracy()
