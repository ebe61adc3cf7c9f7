"""Reward models: what a student is praised for, beside being like its teacher.

`load_reward` makes the rewards that a recipe can name, `held_out` watches that they are not
hacked. A reward of one's own is any object like `base.Reward`.
"""

from __future__ import annotations

from .loading import REWARDS, load_reward

__all__ = ["REWARDS", "load_reward"]
