"""The running average of the weights, which is less noisy than the weights of one step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from .phase import trained_parameters


class EMA:
    """Exponential moving average of the trained parameters of a model.

    Args:
        model: in training, after it was sharded or moved to a device.
        decay: share of the old average kept by a step.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.pairs = [(p, p.detach().clone()) for p in trained_parameters(model)]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the weights after `step`."""
        # A short memory at first, or the average would stick to the initial weights.
        decay = min(self.decay, (1 + step) / (10 + step))
        for parameter, average in self.pairs:
            average.lerp_(parameter, 1 - decay)

    @torch.no_grad()
    def restart(self) -> None:
        """Set the average to the weights."""
        for parameter, average in self.pairs:
            average.copy_(parameter)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange weights and average in place, as sharded parameters require."""
        for parameter, average in self.pairs:
            weights = parameter.clone()
            parameter.copy_(average)
            average.copy_(weights)

    @contextmanager
    def in_model(self) -> Iterator[None]:
        """Use the average as the model's weights inside the block."""
        self.swap()
        try:
            yield
        finally:
            self.swap()
