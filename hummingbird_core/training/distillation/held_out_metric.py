"""Scores of the validation videos: what training climbs, and a judge that it does not follow."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ...devices import DTYPES
from ...files import atomic_write
from ..loop.distributed import distributed_state
from ..loop.modules import freeze
from ..loop.progress import read_losses
from ..rewards.base import Reward
from ..rewards.held_out import MetricResult, RewardLog, ShapeJudge, judge
from ..rewards.loading import load_reward
from .losses import Objective, RewardFeedback

if TYPE_CHECKING:
    from .recipe import Recipe

TRIED_SIZE = 64  # pixels of a side
SHAPE_READER = "shape_reader"  # the judge of the built-in model's world, which is no reward


@dataclass
class HeldOutMetric:
    """Keeps `path` with the scores of every validation, and warns when reward and judge part.

    Attributes:
        path: a file of one object a line; of an earlier start of the run, it is gone on with.
        rewards: that training climbs; their weighted sum is compared.
        held_out: the judge.
    """

    path: Path
    rewards: Sequence[RewardFeedback]
    held_out: Reward
    log: RewardLog = field(default_factory=RewardLog)

    def __post_init__(self) -> None:
        for line in read_losses(self.path):
            scores = torch.tensor(line["reward"]), torch.tensor(line["held_out"])
            self.log.verdicts.append(MetricResult(line["step"], *scores))

    def try_on(self, prompts: list[str]) -> None:
        """Asks everyone about black videos: what they can't read shows before training."""
        if not prompts:
            return
        black = -torch.ones(
            len(prompts), 3, 2, TRIED_SIZE, TRIED_SIZE, device=distributed_state().device
        )
        for reward in (*(r.reward for r in self.rewards), self.held_out):
            judge(reward, black, prompts)

    def add(self, step: int, videos: Tensor, prompts: list[str]) -> None:
        """Scores videos `[N, 3, T, H, W]` in -1..1 of the same N prompts as ever."""
        self.log.verdicts = [v for v in self.log.verdicts if v.step < step]
        scores = [r.weight * judge(r.reward, videos, prompts) for r in self.rewards]
        self.log.add(step, torch.stack(scores).sum(dim=0), judge(self.held_out, videos, prompts))
        lines = (
            {"step": v.step, "reward": v.reward.tolist(), "held_out": v.held_out.tolist()}
            for v in self.log.verdicts
        )
        with atomic_write(self.path) as temporary:
            temporary.write_bytes("".join(json.dumps(line) + "\n" for line in lines).encode())


def make_held_out_metric(
    recipe: Recipe, objectives: Mapping[str, Objective], path: Path
) -> HeldOutMetric | None:
    """What follows the rewards with a held-out judge; None if the recipe names none.

    Raises:
        InputError: a validation prompt is none that rewards and judge can read.
    """
    settings = recipe.validation
    rewards = [term for term in objectives.values() if isinstance(term, RewardFeedback)]
    if settings.judge is None or not rewards:
        return None
    held_out = load_judge(settings.judge, settings.judge_weights)
    if isinstance(held_out, nn.Module):
        freeze(held_out, recipe.training.precision)
    judging = HeldOutMetric(path, rewards, held_out)
    precision = recipe.training.precision
    with torch.autocast(
        distributed_state().device.type, DTYPES[precision], enabled=precision != "fp32"
    ):
        judging.try_on(list(settings.prompts))
    return judging


def load_judge(kind: str, weights: str | None) -> Reward:
    """The reward model of that name, or the reader of shapes."""
    return ShapeJudge() if kind == SHAPE_READER else load_reward(kind, weights)
