"""Reports of a run: a progress bar, a file of losses, and TensorBoard if installed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from ...files import atomic_write

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

NUMBERS_SHOWN = 4  # in the progress bar; the files have all


class StepReporter:
    """Reports the numbers of each step.

    Args:
        folder: gets `NAME.losses.jsonl`, one object a step, and `tensorboard/NAME`.
        name: of the run.
        first: next step of a resumed run; reports of later steps are removed.
        steps: total number.
    """

    def __init__(self, folder: Path, name: str, first: int, steps: int):
        folder.mkdir(parents=True, exist_ok=True)
        self.bar = tqdm(total=steps, initial=first, desc=name, unit="step", mininterval=2)
        path = folder / f"{name}.losses.jsonl"
        _forget_from(path, first)
        self.file = path.open("a", encoding="utf-8", newline="\n")
        self.tensorboard = _tensorboard(folder / "tensorboard" / name, first)

    def report(self, step: int, numbers: Mapping[str, float]) -> None:
        """Show and store the numbers of one step."""
        shown = {name: f"{value:.4g}" for name, value in list(numbers.items())[:NUMBERS_SHOWN]}
        self.bar.set_postfix(shown, refresh=False)
        self.bar.update()
        finite = {k: v if math.isfinite(v) else str(v) for k, v in numbers.items()}
        self.file.write(json.dumps({"step": step, **finite}) + "\n")  # JSON knows no NaN
        self.file.flush()
        if self.tensorboard:
            for name, value in numbers.items():
                self.tensorboard.add_scalar(name, value, step)

    def close(self) -> None:
        """Close bar and files."""
        self.bar.close()
        self.file.close()
        if self.tensorboard:
            self.tensorboard.close()


@contextmanager
def report_steps(
    folder: Path, name: str, first: int, steps: int, *, enabled: bool
) -> Iterator[StepReporter | None]:
    """Open a `StepReporter` for the block; None in processes that do not report."""
    reporter = StepReporter(folder, name, first, steps) if enabled else None
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


def _tensorboard(folder: Path, first: int) -> SummaryWriter | None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=first)
