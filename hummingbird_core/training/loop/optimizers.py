"""AdamW (arXiv 1711.05101), also with 8-bit states (arXiv 2110.02861)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from ...terminal import get_logger
from .config import TrainConfig

logger = get_logger(__name__)


def make_optimizer(
    parameters: Iterable[nn.Parameter], settings: TrainConfig
) -> torch.optim.Optimizer:
    """Return the optimizer of the settings.

    Without bitsandbytes, "adamw8bit" is plain AdamW, which needs more memory and trains as well.
    """
    options: dict[str, Any] = {
        "lr": settings.learning_rate,
        "betas": settings.betas,
        "weight_decay": settings.weight_decay,
    }
    trained = list(parameters)
    if settings.optimizer == "adamw8bit":
        try:
            from bitsandbytes.optim import AdamW8bit
        except ImportError:
            logger.warning("bitsandbytes is not installed: AdamW keeps its states in 32 bits")
        else:
            return AdamW8bit(trained, **options)
    # The fused kernel does not support sharded parameters on a CPU.
    return torch.optim.AdamW(trained, fused=settings.sharding == "none", **options)
