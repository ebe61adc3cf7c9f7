"""The running average of the weights: steadier than the weights of any one step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class EMA:
    """Exponential moving average of the trained parameters of a model.

    Args:
        model: as it is trained, that is after it was sharded or moved to a device.
        decay: share of the old average that a step keeps.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        trained = [p for p in model.parameters() if p.requires_grad]
        self.pairs = [(p, p.detach().clone()) for p in trained]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Moves the average towards the weights after `step`."""
        # A short memory at first, or the average would hold on to the start.
        decay = min(self.decay, (1 + step) / (10 + step))
        for parameter, average in self.pairs:
            average.lerp_(parameter, 1 - decay)

    @torch.no_grad()
    def restart(self) -> None:
        """Sets the average to the weights."""
        for parameter, average in self.pairs:
            average.copy_(parameter)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchanges weights and average, in place: sharded parameters don't survive otherwise."""
        for parameter, average in self.pairs:
            weights = parameter.clone()
            parameter.copy_(average)
            average.copy_(weights)

    @contextmanager
    def in_model(self) -> Iterator[None]:
        """The model has the average as its weights meanwhile."""
        self.swap()
        try:
            yield
        finally:
            self.swap()
