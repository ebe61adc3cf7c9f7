"""Reports of a run: a progress bar, a file of losses, TensorBoard if installed, and a tracker."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from ...files import atomic_write
from .tensorboard import add_settings, add_video, open_tensorboard
from .tracking import RunTracker, Watch, flat

if TYPE_CHECKING:
    from accelerate import Accelerator

NUMBERS_SHOWN = 4  # in the progress bar; the files have all


@dataclass(frozen=True)
class ValidationResult:
    """The result of a validation.

    Attributes:
        is_best: whether the weights are the best so far.
        numbers: to report, by name.
        videos: uint8 `[T, H, W, 3]`, by prompt.
        fps: frames per second of the videos.
    """

    is_best: bool = False
    numbers: Mapping[str, float] = field(default_factory=dict)
    videos: Mapping[str, np.ndarray] = field(default_factory=dict)
    fps: float = 8.0


class StepReporter:
    """Reports the numbers of each step, and the validations.

    Args:
        folder: gets `NAME.losses.jsonl`, one object a step, and `tensorboard/NAME`.
        name: of the stage, for its files.
        first: next step of a resumed run; reports of later steps are removed.
        steps: total number.
        watch: title, tracker and settings of the run.
        accelerator: of the run.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        first: int,
        steps: int,
        watch: Watch,
        accelerator: Accelerator,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.watch = watch
        self.tracker = RunTracker(accelerator, watch, folder)
        self.bar = tqdm(total=steps, initial=first, desc=watch.title, unit="step", mininterval=2)
        path = folder / f"{name}.losses.jsonl"
        _forget_from(path, first)
        self.file = path.open("a", encoding="utf-8", newline="\n")
        self.tensorboard = open_tensorboard(folder / "tensorboard" / name, first)
        if self.tensorboard:
            add_settings(self.tensorboard, flat(watch.settings))

    def report(self, step: int, numbers: Mapping[str, float]) -> None:
        """Show and store the numbers of one step."""
        shown = {name: f"{value:.4g}" for name, value in list(numbers.items())[:NUMBERS_SHOWN]}
        self.bar.set_postfix(shown, refresh=False)
        self.bar.update()
        finite = {k: v if math.isfinite(v) else str(v) for k, v in numbers.items()}
        kind = self.watch.kind_of_step(step)
        of_kind = {"kind": kind} if kind else {}
        self.file.write(json.dumps({"step": step, **of_kind, **finite}) + "\n")  # knows no NaN
        self.file.flush()
        by_kind = {f"loss by kind/{kind}": numbers["loss"]} if kind else {}
        self._plot(step, {**numbers, **by_kind})

    def report_validation(self, done: int, result: ValidationResult) -> None:
        """Store numbers and videos of the validation after `done` steps."""
        self._plot(done, {f"validation/{name}": value for name, value in result.numbers.items()})
        for prompt, frames in result.videos.items():
            self.tracker.log_video(done, f"validation/{prompt}", frames)
            if self.tensorboard:
                add_video(self.tensorboard, done, prompt, frames, result.fps)

    def _plot(self, step: int, numbers: Mapping[str, float]) -> None:
        if not numbers:
            return
        self.tracker.log(step, numbers)
        if self.tensorboard:
            for name, value in numbers.items():
                self.tensorboard.add_scalar(name, value, step)

    def close(self) -> None:
        """Close bar and files."""
        self.bar.close()
        self.file.close()
        self.tracker.close()
        if self.tensorboard:
            self.tensorboard.close()


@contextmanager
def report_steps(
    folder: Path, name: str, first: int, steps: int, watch: Watch, accelerator: Accelerator
) -> Iterator[StepReporter | None]:
    """Open a `StepReporter` for the block; None in all but the main process."""
    is_main = accelerator.is_main_process
    reporter = StepReporter(folder, name, first, steps, watch, accelerator) if is_main else None
    try:
        yield reporter
    finally:
        if reporter:
            reporter.close()


def read_losses(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a losses file, without a last line broken by a kill."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1] if line]


def _forget_from(path: Path, first: int) -> None:
    kept = [line for line in read_losses(path) if line["step"] < first]
    with atomic_write(path) as temporary:
        temporary.write_bytes("".join(json.dumps(line) + "\n" for line in kept).encode())
