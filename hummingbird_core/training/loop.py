"""One training loop: AdamW, warm-up and cosine, gradient clipping, EMA, and exact resume.

Everything random in a step comes from a generator seeded with the step's number, so a run that was
killed and resumed sees the same data and noise as one that was not. Under `torchrun` each process
takes its share of every batch, and gradients are averaged.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn
from tqdm import tqdm

Model = TypeVar("Model", bound=nn.Module)
# (step, seed) -> named terms, whose sum is minimised; each process has its own seed for a step.
Loss = Callable[[int, int], dict[str, Tensor]]


@dataclass(frozen=True)
class Schedule:
    """How long and how hard to train.

    Args:
        steps: optimiser steps.
        learning_rate: peak, reached after `warmup` steps, then a cosine down to a twentieth.
        warmup: steps of linear rise.
        ema_decay: of the averaged weights that a stage returns.
        save_every: steps between checkpoints.
    """

    steps: int
    learning_rate: float
    warmup: int = 30
    ema_decay: float = 0.99
    save_every: int = 50

    def rate(self, step: int) -> float:
        """Learning rate at `step`."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.learning_rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress)))


def train(name: str, model: Model, loss: Loss, schedule: Schedule, folder: Path) -> Model:
    """Trains `model` in place and returns its EMA copy; goes on where an earlier run stopped.

    Args:
        name: of the stage: its checkpoint file and its progress bar.
        model: what to train; parameters without gradient are left alone.
        loss: the terms of one step.
        schedule: steps and learning rate.
        folder: where `NAME.state.pt` is kept.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, betas=(0.9, 0.99), weight_decay=1e-3, fused=True)
    ema = copy.deepcopy(model).eval().requires_grad_(False)
    path = folder / f"{name}.state.pt"
    first = _resume(path, model, ema, optimizer)
    with tqdm(
        total=schedule.steps,
        initial=first,
        desc=name,
        unit="step",
        mininterval=2,
        disable=rank() > 0,
    ) as bar:
        for step in range(first, schedule.steps):
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(step)
            terms = loss(step, step * world_size() + rank())
            optimizer.zero_grad(set_to_none=True)
            torch.stack(list(terms.values())).sum().backward()
            _average_gradients(parameters)
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            # A short memory at first, or the average would hold on to the random start.
            _update_ema(ema, model, min(schedule.ema_decay, (1 + step) / (10 + step)))
            bar.set_postfix({key: f"{value.item():.4f}" for key, value in terms.items()})
            bar.update()
            due = (step + 1) % schedule.save_every == 0 or step + 1 == schedule.steps
            if due and rank() == 0:
                _save(path, step + 1, model, ema, optimizer)
    return ema


def seeded(seed: int) -> torch.Generator:
    """The generator that everything random in one step of one process is drawn from."""
    return torch.Generator().manual_seed(seed)


def world_size() -> int:
    """Processes that train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Number of this process among them; 0 is the one that writes files."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def share(batch: int) -> int:
    """This process's part of a batch."""
    return max(1, batch // world_size())


def _average_gradients(parameters: list[nn.Parameter]) -> None:
    if world_size() == 1:
        return
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    flat = torch.cat([g.flatten() for g in gradients])  # one message, not hundreds
    distributed.all_reduce(flat)
    flat /= world_size()
    for p, mean in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        p.grad = mean.view_as(p)


@torch.no_grad()
def _update_ema(ema: nn.Module, model: nn.Module, decay: float) -> None:
    for average, value in zip(ema.parameters(), model.parameters(), strict=True):
        average.lerp_(value, 1 - decay)


def _save(
    path: Path, step: int, model: nn.Module, ema: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    state = {
        "step": step,
        "model": model.state_dict(),
        "ema": ema.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    torch.save(state, temporary)
    os.replace(temporary, path)  # a kill leaves the previous checkpoint whole


def _resume(path: Path, model: nn.Module, ema: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    ema.load_state_dict(state["ema"])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"]
