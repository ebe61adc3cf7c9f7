"""The training loop of every stage: a plain PyTorch loop on `accelerate`.

    train("student", student, loss, TrainConfig(steps=1000, learning_rate=1e-4), folder)

One process, or several under `torchrun`, each with the whole model (DDP) or a shard of it (FSDP2).
Killed at any time, the same call resumes from the last saved state and gives the same losses.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from ...errors import InputError, NumericalError
from ...terminal import get_logger
from .config import TrainConfig
from .distributed import make_accelerator
from .ema import EMA
from .phase import Loss, Phase, check_phases, frozen
from .progress import StepReporter, ValidationResult, report_steps
from .snapshots import Snapshots
from .state import TrainedPart, TrainingState, full_state_dict, state_path
from .tracking import Watch
from .updater import Updater, are_finite

logger = get_logger(__name__)

Model = TypeVar("Model", bound=nn.Module)
Validate = Callable[[int], ValidationResult | None]  # called with the number of completed steps

MAX_BAD_STEPS = 20  # in a row; fp16 has a few until its loss scale fits
MAX_BAD_AT_END = 3  # in a row: a run that ends so has not trained


def train(
    name: str,
    model: Model,
    loss: Loss,
    settings: TrainConfig,
    folder: Path,
    validate: Validate | None = None,
    phases: Sequence[Phase] = (),
    snapshots: Snapshots | None = None,
    watch: Watch | None = None,
) -> Model:
    """Train `model` in place; resume where an earlier call with the same folder stopped.

    Args:
        name: of the stage, for its files.
        model: parameters that require no gradient stay as they are.
        loss: computes the terms of a micro-batch. Its random numbers come from the micro-batch, or
            from torch's global generators, which are seeded for each micro-batch.
        settings: steps, learning rate, precision and so on.
        folder: of `NAME.state.pt`, `NAME.losses.jsonl` and TensorBoard's files.
        validate: called before the first step, every `settings.validate_every` steps and after the
            last one, with `model` in eval mode and with the averaged weights.
        phases: more weights to train, such as a critic's, each with its own optimizer and loss. A
            step runs them in this order, and then updates `model`.
        snapshots: usable weights to write with the saved states, the last one excepted, and after
            validations that found the best.
        watch: title of the progress bar, tracker, and settings to record.

    Returns:
        `model` on the training device, in eval mode, with the averaged weights, if any.

    Raises:
        InputError: all weights of a phase are frozen, two phases train the same weights, the
            settings do not fit the machine, or the run has done more steps than `settings.steps`.
        NumericalError: the loss or its gradient is not finite many times in a row, or in the last
            steps.
        CheckpointError: the state in `folder` is damaged or belongs to another model.
        KeyboardInterrupt: Ctrl-C; the state was saved.
    """
    return Trainer(name, model, loss, settings, folder, phases, snapshots, watch).run(validate)


class Trainer(Generic[Model]):
    """One stage of training; see `train`."""

    def __init__(
        self,
        name: str,
        model: Model,
        loss: Loss,
        settings: TrainConfig,
        folder: Path,
        phases: Sequence[Phase] = (),
        snapshots: Snapshots | None = None,
        watch: Watch | None = None,
    ) -> None:
        check_phases(name, model, phases)
        self.name, self.model = name, model
        self.settings, self.folder, self.snapshots = settings, folder, snapshots
        watch = watch or Watch()
        recorded = watch.settings or asdict(settings)
        self.watch = replace(watch, title=watch.title or name, settings=recorded)
        self.reporter: StepReporter | None = None  # while the run goes on, in the main process
        self.accelerator = make_accelerator(settings)
        self.main = Updater(model, loss, settings, self.accelerator)
        others = [
            Updater(p.model, p.loss, p.config(settings), self.accelerator, p.name, p.updates)
            for p in phases
        ]
        self.updaters = [*others, self.main]  # in the order of a step
        for updater in self.updaters:
            updater.gather_with([other for other in self.updaters if other is not updater])
        self.ema = EMA(model, settings.ema_decay) if settings.ema_decay else None
        self.state = TrainingState(
            state_path(folder, name),
            TrainedPart(model, self.main.optimizer),
            self.ema,
            self.accelerator.scaler,
            {other.phase: TrainedPart(other.model, other.optimizer) for other in others},
        )

    def run(self, validate: Validate | None = None) -> Model:
        """Run all remaining steps."""
        for updater in self.updaters:
            updater.zero_grad()  # gradients of an earlier call would prevent a restore
        first, steps = self.state.load(), self.settings.steps
        self._check_steps(first)
        bad_steps = 0
        self._set_mode(training=True)
        with (
            fork_rng(self.accelerator.device),
            defer_interrupt() as stop,
            report_steps(
                self.folder, self.name, first, steps, self.watch, self.accelerator
            ) as self.reporter,
        ):
            if first == 0:
                self._validate(validate, 0)
            for step in range(first, steps):
                numbers = self.step(step)
                is_stopping = self._in_any_process(stop.is_set())
                if self.reporter:
                    self.reporter.report(step, numbers)
                bad_steps = 0 if are_finite(numbers) else bad_steps + 1
                self._check_progress(step, bad_steps, numbers)
                self._after(step + 1, is_stopping, validate)
        if self.ema:
            self.ema.swap()
        self.accelerator.wait_for_everyone()  # until all files are written
        self._set_mode(training=False)
        return self.model

    def _check_steps(self, first: int) -> None:
        """Refuse fewer steps than are done; warn of a warm-up that does not end."""
        steps, warmup = self.settings.steps, self.settings.warmup
        if first > steps:
            raise InputError(
                f"got steps {steps} for a run that has done {first} ({self.state.path}), expected "
                f"{first} or more: give more, or choose another folder for a shorter run"
            )
        if first < steps < warmup and self._is_main:
            highest = self.settings.rate(steps - 1)
            logger.warning(
                "the warm-up of %d steps is longer than the run of %d: the learning rate reaches "
                "%.3g of %.3g",
                *(warmup, steps, highest, self.settings.learning_rate),
            )

    def _set_mode(self, *, training: bool) -> None:
        for updater in self.updaters:
            updater.model.train(training)

    def _after(self, done: int, is_stopping: bool, validate: Validate | None) -> None:
        """Run the periodic work (checkpoint, validation) due after `done` steps."""
        settings = self.settings
        is_last = done == settings.steps
        if is_stopping or is_last or done % settings.save_every == 0:
            self.state.save(done, writes=self._is_main)
            if self.snapshots and self.settings.keep_last and not is_last:
                self._snapshot(done, self.snapshots.add)
        if is_stopping and not is_last:
            raise KeyboardInterrupt
        if settings.validate_every and (is_last or done % settings.validate_every == 0):
            self._validate(validate, done)

    def step(self, step: int) -> dict[str, float]:
        """Run all phases of one step; return the numbers to report, first those of `model`."""
        began = time.perf_counter()
        others: dict[str, float] = {}
        for other in self.updaters[:-1]:
            others |= {f"{other.phase}/{k}": v for k, v in self._run_phase(other, step).items()}
        numbers = self._run_phase(self.main, step)
        if self.ema and are_finite(numbers):
            self.ema.update(step)
        if self.accelerator.device.type == "cuda":
            numbers["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
        # Without validation and saving; reading the losses has waited for the device.
        return {**numbers, **others, "seconds": time.perf_counter() - began}

    def _run_phase(self, updater: Updater, step: int) -> dict[str, float]:
        """Update the weights of one phase; return the means over its updates."""
        for other in self.updaters:
            other.zero_grad()  # the optimizers share a loss scale, and would all check theirs
        resting = [p for other in self.updaters if other is not updater for p in other.parameters]
        with frozen(resting):
            results = [updater.update(step, turn) for turn in range(updater.updates)]
        return {key: sum(r[key] for r in results) / len(results) for key in results[0]}

    def _in_any_process(self, is_so: bool) -> bool:
        """Return whether something, such as Ctrl-C, happened in any process."""
        flag = torch.tensor(float(is_so), device=self.accelerator.device)
        return self.accelerator.reduce(flag, "sum").item() > 0

    def _snapshot(self, done: int, add: Callable[[int, dict[str, Tensor]], None]) -> None:
        """Write the weights that the run would end with; all processes gather them."""
        with self.ema.in_model() if self.ema else nullcontext():
            weights = full_state_dict(self.model)
            if self._is_main:
                add(done, weights)

    def _check_progress(self, step: int, bad_steps: int, numbers: dict[str, float]) -> None:
        is_last = step + 1 == self.settings.steps
        limit = min(MAX_BAD_AT_END, step + 1) if is_last else MAX_BAD_STEPS
        if bad_steps < limit:
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
            result = self.main.run(lambda: validate(done)) or ValidationResult()
        self.model.train()
        if self.reporter:
            self.reporter.report_validation(done, result)
        is_best = result.is_best
        if self.snapshots and self.settings.keep_best and self._in_any_process(is_best):
            self._snapshot(done, self.snapshots.add_best)
        if self.accelerator.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()  # reports are about training steps

    @property
    def _is_main(self) -> bool:
        return self.accelerator.is_main_process


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
    # Other threads, and callers with their own handler, keep the signal.
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
