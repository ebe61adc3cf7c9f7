"""Snapshots: usable weights of a run while it trains, the last ones and the best.

    FOLDER/checkpoints/step-000500.safetensors    after each saved state; the newest few are kept
    FOLDER/checkpoints/best-000450.safetensors    the highest held-out metric so far

They hold what the run would write if it ended there, averaged weights included.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

# Writes trained weights, by name and on the CPU, as a file that other code can use; the number is
# that of the completed steps.
WriteWeights = Callable[[dict[str, Tensor], Path, int], None]


@dataclass(frozen=True)
class Snapshots:
    """The snapshots of one run.

    Attributes:
        folder: made when the first is written.
        write: writes one.
        keep_last: number of snapshots of saved states that stay.
        keep_best: whether that of the best validation is kept.
    """

    folder: Path
    write: WriteWeights
    keep_last: int
    keep_best: bool

    def add(self, step: int, weights: dict[str, Tensor]) -> None:
        """Write the snapshot of a saved state, and delete those that are too old."""
        self._write("step", step, weights)
        for path in self._found("step")[: -self.keep_last]:
            path.unlink()

    def add_best(self, step: int, weights: dict[str, Tensor]) -> None:
        """Write the snapshot of the best validation, and delete the one before."""
        path = self._write("best", step, weights)
        for other in self._found("best"):
            if other != path:
                other.unlink()

    def find(self, step: int) -> Path | None:
        """Return a snapshot of the weights after `step` steps, if there is one."""
        paths = (self._path(kind, step) for kind in ("best", "step"))
        return next((path for path in paths if path.exists()), None)

    def _write(self, kind: str, step: int, weights: dict[str, Tensor]) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(kind, step)
        self.write(weights, path, step)
        return path

    def _path(self, kind: str, step: int) -> Path:
        return self.folder / f"{kind}-{step:06d}.safetensors"

    def _found(self, kind: str) -> list[Path]:
        """Return the snapshots of a kind, by rising step; other files are not touched."""
        steps = {}
        for path in self.folder.iterdir():
            if match := re.fullmatch(rf"{kind}-(\d+)\.safetensors", path.name):
                steps[path] = int(match[1])
        return sorted(steps, key=lambda path: steps[path])
