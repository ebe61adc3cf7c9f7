"""Updates of one model's weights: gradients over micro-batches and processes, and an optimizer."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .config import TrainConfig
from .distributed import distribute, is_sharded, no_sync
from .micro_batch import MicroBatch
from .optimizers import make_optimizer
from .phase import Loss, trained_parameters

if TYPE_CHECKING:
    from accelerate import Accelerator


class Updater:
    """The optimizer of a model's trained weights.

    Args:
        model: moved to this process's device, and sharded if the settings say so.
        loss: of a micro-batch.
        settings: of the run, or of its phase.
        accelerator: of the run.
        phase: its name; "" for the model that the run is about.
        updates: in a step of the run.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        settings: TrainConfig,
        accelerator: Accelerator,
        phase: str = "",
        updates: int = 1,
    ) -> None:
        self.model, self.loss, self.settings = model, loss, settings
        self.accelerator, self.phase, self.updates = accelerator, phase, updates
        self.micro_batch_size = settings.micro_batch_size(accelerator.num_processes)
        self.wrapped = distribute(accelerator, ForwardWrapper(model), settings)
        # After `distribute`, which replaces parameters by their shards.
        self.parameters = trained_parameters(model)
        self.optimizer = make_optimizer(self.parameters, settings)
        self.prepared = accelerator.prepare_optimizer(self.optimizer)
        self.gathered: Sequence[nn.Module] = ()

    def gather_with(self, others: Sequence[Updater]) -> None:
        """Let the loss use the models of other phases too, if their weights are sharded."""
        self.gathered = [other.wrapped for other in others if is_sharded(other.wrapped)]

    def run(self, function: Callable[[], Any]) -> Any:
        """Return `function()`, called where all weights are gathered."""
        for wrapped in self.gathered:
            function = partial(wrapped, function)
        return self.wrapped(function)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        self.prepared.zero_grad()

    def update(self, step: int, turn: int = 0) -> dict[str, float]:
        """Update the weights; return the numbers to report, means over all processes.

        Args:
            step: of the run.
            turn: of the `updates` in this step.
        """
        rate = self.settings.rate(step)
        for group in self.prepared.param_groups:
            group["lr"] = rate
        self.zero_grad()
        terms = self._accumulate_gradients(step * self.updates + turn)
        norm = self._clip_gradients()
        means = self._mean_over_processes(terms)
        numbers = {"loss": sum(means.values()), **means}
        numbers |= {"gradient_norm": norm, "learning_rate": rate}
        # With a loss scale, the optimizer itself skips a bad step and lowers the scale.
        if are_finite(numbers) or self.accelerator.scaler:
            self.prepared.step()
        return numbers

    def _accumulate_gradients(self, number: int) -> dict[str, Tensor | float]:
        processes = self.accelerator.num_processes
        count = self.settings.batch // self.micro_batch_size
        rounds = count // processes
        sums: Counter[str] = Counter()
        for turn in range(rounds):
            process = self.accelerator.process_index
            index = turn * processes + process
            size, seed = self.micro_batch_size, self.settings.seed
            micro_batch = MicroBatch(seed, number, index, count, size, process, self.phase)
            with self._gradient_sync(is_last=turn + 1 == rounds):
                for name, term in self._backward(micro_batch, rounds).items():
                    sums[name] += term  # type: ignore[assignment]
        return dict(sums)

    def _backward(self, micro_batch: MicroBatch, rounds: int) -> dict[str, Tensor]:
        """Add a micro-batch's gradients to those of the weights; return its terms."""
        torch.manual_seed(micro_batch.layer_seed)
        with self.accelerator.autocast():
            terms = self.run(lambda: self.loss(micro_batch))
        self.accelerator.backward(torch.stack(list(terms.values())).sum() / rounds)
        return {name: term.detach() / rounds for name, term in terms.items()}

    def _gradient_sync(self, is_last: bool) -> AbstractContextManager[None]:
        return nullcontext() if is_last else no_sync(self.wrapped)

    def _clip_gradients(self) -> float:
        longest = self.settings.clip_norm or math.inf
        norm = self.accelerator.clip_grad_norm_(self.wrapped.parameters(), longest)
        return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)

    def _mean_over_processes(self, numbers: dict[str, Tensor | float]) -> dict[str, float]:
        device = self.accelerator.device
        values = torch.stack([torch.as_tensor(v, device=device).float() for v in numbers.values()])
        means = self.accelerator.reduce(values, "mean").tolist()
        return dict(zip(numbers, means, strict=True))


class ForwardWrapper(nn.Module):
    """Runs a function that uses a model inside a forward pass of the model.

    There DDP prepares to average gradients, and FSDP has gathered weights. So a loss may call the
    model freely: twice, one of its methods, or a submodule.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, function: Callable[[], Any]) -> Any:
        """Return `function()`."""
        return function()


def are_finite(numbers: Mapping[str, float]) -> bool:
    """Return whether all numbers of a step are finite."""
    return all(map(math.isfinite, numbers.values()))
