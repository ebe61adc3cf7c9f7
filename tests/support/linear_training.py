"""Training of a linear model that learns the sum of four numbers."""

from __future__ import annotations

import torch
from torch import nn

from hummingbird_core.training.loop.config import TrainConfig
from hummingbird_core.training.loop.micro_batch import MicroBatch
from hummingbird_core.training.loop.progress import read_losses
from hummingbird_core.training.loop.trainer import train


def linear() -> nn.Linear:
    model = nn.Linear(4, 1)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    return model


def regression(model: nn.Module):
    """Learns the sum of four numbers."""

    def loss(micro_batch: MicroBatch) -> dict[str, torch.Tensor]:
        x = torch.stack([torch.randn(4, generator=g) for g in micro_batch.clip_generators()])
        error = model(x) - x.sum(1, keepdim=True)
        return {"error": error.square().mean(), "size": 0 * model(x).mean()}

    return loss


def settings(**changes) -> TrainConfig:
    return TrainConfig(**{"steps": 20, "learning_rate": 0.05, "batch": 8, **changes})


def fit(folder, model=None, loss=None, validate=None, **changes) -> nn.Linear:
    model = model or linear()
    return train("fit", model, loss or regression(model), settings(**changes), folder, validate)


def losses(folder) -> list[float]:
    return [line["loss"] for line in read_losses(folder / "fit.losses.jsonl")]


def losses_of(folder, **changes) -> list[float]:
    fit(folder, **changes)
    return losses(folder)
