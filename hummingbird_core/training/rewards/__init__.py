"""Reward models, whose scores are added to the distillation loss.

`load_reward` loads a reward by its name in a recipe; `held_out` guards against reward hacking. A
new reward is any object like `base.Reward`, named as `MODULE:NAME`.
"""

from __future__ import annotations

from .loading import REWARDS, load_reward

__all__ = ["REWARDS", "load_reward"]
