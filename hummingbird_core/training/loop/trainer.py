"""The training loop of every stage: a plain PyTorch loop on `accelerate`.

    train("student", student, loss, TrainConfig(steps=1000, learning_rate=1e-4), folder)

One process, or several under `torchrun`, each with the whole model (DDP) or a shard of it (FSDP2).
Killed at any time, the same call resumes from the last saved state and gives the same losses.
"""

from __future__ import annotations

import math
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from threading import Event
from types import FrameType
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from ...errors import InputError, NumericalError
from .config import TrainConfig
from .distributed import distribute, make_accelerator, no_sync
from .ema import EMA
from .micro_batch import MicroBatch
from .optimizers import make_optimizer
from .progress import report_steps
from .state import TrainingState, state_path

Model = TypeVar("Model", bound=nn.Module)
# The named terms of the loss of a micro-batch, each a mean over its clips; the sum is minimised.
Loss = Callable[[MicroBatch], dict[str, Tensor]]
Validate = Callable[[int], None]  # called with the number of completed steps

MAX_BAD_STEPS = 20  # in a row; fp16 has a few until its loss scale fits
STOPPING = "stopping"


def train(
    name: str,
    model: Model,
    loss: Loss,
    settings: TrainConfig,
    folder: Path,
    validate: Validate | None = None,
) -> Model:
    """Train `model` in place; resume where an earlier call with the same folder stopped.

    Args:
        name: of the stage, for its files and its progress bar.
        model: parameters that require no gradient stay as they are.
        loss: computes the terms of a micro-batch. Its random numbers come from the micro-batch, or
            from torch's global generators, which are seeded for each micro-batch.
        settings: steps, learning rate, precision and so on.
        folder: of `NAME.state.pt`, `NAME.losses.jsonl` and TensorBoard's files.
        validate: called before the first step, every `settings.validate_every` steps and after the
            last one, with `model` in eval mode and with the averaged weights.

    Returns:
        `model` on the training device, in eval mode, with the averaged weights, if any.

    Raises:
        InputError: all weights are frozen, or the settings do not fit the machine.
        NumericalError: the loss or its gradient is not finite many times in a row.
        CheckpointError: the state in `folder` is damaged or belongs to another model.
        KeyboardInterrupt: Ctrl-C; the state was saved.
    """
    return Trainer(name, model, loss, settings, folder).run(validate)


class Trainer(Generic[Model]):
    """One stage of training; see `train`."""

    def __init__(
        self, name: str, model: Model, loss: Loss, settings: TrainConfig, folder: Path
    ) -> None:
        if not any(p.requires_grad for p in model.parameters()):
            raise InputError(f"got {name} with all weights frozen, expected some to train")
        self.name, self.model, self.loss = name, model, loss
        self.settings, self.folder = settings, folder
        self.accelerator = make_accelerator(settings)
        self.micro_batch_size = settings.micro_batch_size(self.accelerator.num_processes)
        self.wrapped = distribute(self.accelerator, ForwardWrapper(model), settings)
        # After `distribute`, which replaces parameters by their shards.
        optimizer = make_optimizer((p for p in model.parameters() if p.requires_grad), settings)
        self.optimizer = self.accelerator.prepare_optimizer(optimizer)
        self.ema = EMA(model, settings.ema_decay) if settings.ema_decay else None
        self.state = TrainingState(
            state_path(folder, name), model, optimizer, self.ema, self.accelerator.scaler
        )

    def run(self, validate: Validate | None = None) -> Model:
        """Run all remaining steps."""
        self.optimizer.zero_grad()  # gradients of an earlier call would prevent a restore
        first, steps = self.state.load(), self.settings.steps
        bad_steps = 0
        self.model.train()
        with (
            fork_rng(self.accelerator.device),
            defer_interrupt() as stop,
            report_steps(self.folder, self.name, first, steps, enabled=self._is_main) as reporter,
        ):
            if first == 0:
                self._validate(validate, 0)
            for step in range(first, steps):
                numbers = self._step(step, stop)
                is_stopping = numbers.pop(STOPPING) > 0
                if reporter:
                    reporter.report(step, numbers)
                bad_steps = 0 if are_finite(numbers) else bad_steps + 1
                self._check_progress(step, bad_steps, numbers)
                self._after(step + 1, is_stopping, validate)
        if self.ema:
            self.ema.swap()
        self.accelerator.wait_for_everyone()  # until all files are written
        return self.model.eval()

    def _after(self, done: int, is_stopping: bool, validate: Validate | None) -> None:
        """Run the periodic work (checkpoint, validation) due after `done` steps."""
        settings = self.settings
        is_last = done == settings.steps
        if is_stopping or is_last or done % settings.save_every == 0:
            self.state.save(done, writes=self._is_main)
        if is_stopping and not is_last:
            raise KeyboardInterrupt
        if settings.validate_every and (is_last or done % settings.validate_every == 0):
            self._validate(validate, done)

    def _step(self, step: int, stop: Event) -> dict[str, float]:
        """Update the weights; return the numbers to report, means over all processes."""
        rate = self.settings.rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        terms = self._accumulate_gradients(step)
        norm = self._clip_gradients()
        means = self._mean_over_processes({**terms, STOPPING: float(stop.is_set())})
        loss = sum(means[name] for name in terms)
        numbers = {"loss": loss, **means, "gradient_norm": norm, "learning_rate": rate}
        if self.accelerator.device.type == "cuda":
            numbers["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
        # With a loss scale, the optimizer itself skips a bad step and lowers the scale.
        if are_finite(numbers) or self.accelerator.scaler:
            self.optimizer.step()
        if self.ema and are_finite(numbers):
            self.ema.update(step)
        return numbers

    def _accumulate_gradients(self, step: int) -> dict[str, Tensor | float]:
        processes = self.accelerator.num_processes
        count = self.settings.batch // self.micro_batch_size
        rounds = count // processes
        sums: Counter[str] = Counter()
        for turn in range(rounds):
            process = self.accelerator.process_index
            index = turn * processes + process
            micro_batch = MicroBatch(
                self.settings.seed, step, index, count, self.micro_batch_size, process
            )
            with self._gradient_sync(is_last=turn + 1 == rounds):
                for name, term in self._backward(micro_batch, rounds).items():
                    sums[name] += term  # type: ignore[assignment]
        return dict(sums)

    def _backward(self, micro_batch: MicroBatch, rounds: int) -> dict[str, Tensor]:
        """Add a micro-batch's gradients to those of the weights; return its terms."""
        torch.manual_seed(micro_batch.layer_seed)
        with self.accelerator.autocast():
            terms = self.wrapped(lambda: self.loss(micro_batch))
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

    def _check_progress(self, step: int, bad_steps: int, numbers: dict[str, float]) -> None:
        if bad_steps < MAX_BAD_STEPS:
            return
        faults = [name for name, value in numbers.items() if not math.isfinite(value)]
        raise NumericalError(
            f"got NaN or infinity for {', '.join(faults)} in {bad_steps} steps in a row, up to "
            f"step {step}, expected numbers: the weights are still those before; lower the "
            "learning rate, or use bf16 or fp32"
        )

    def _validate(self, validate: Validate | None, done: int) -> None:
        if validate is None or not self.settings.validate_every:
            return
        self.model.eval()
        average = self.ema.in_model() if self.ema else nullcontext()
        with average, torch.no_grad(), self.accelerator.autocast():
            self.wrapped(lambda: validate(done))
        self.model.train()
        if self.accelerator.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()  # reports are about training steps

    @property
    def _is_main(self) -> bool:
        return self.accelerator.is_main_process


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


def fork_rng(device: torch.device) -> AbstractContextManager[None]:
    """Restore torch's global generators after the block."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [])


@contextmanager
def defer_interrupt() -> Iterator[threading.Event]:
    """Set an event on the first Ctrl-C; only the second one raises KeyboardInterrupt.

    In the middle of a step, weights, averages and optimizer are inconsistent, and other processes
    wait for this one's gradients.
    """
    seen = threading.Event()
    previous = signal.getsignal(signal.SIGINT)
    is_main_thread = threading.current_thread() is threading.main_thread()
    # Callers with a handler of their own, and other threads, keep the signal.
    if not is_main_thread or previous is not signal.default_int_handler:
        yield seen
        return

    def remember(signum: int, frame: FrameType | None) -> None:
        if seen.is_set():
            raise KeyboardInterrupt
        seen.set()

    signal.signal(signal.SIGINT, remember)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, previous)
