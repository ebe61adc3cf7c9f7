"""Trackers of a run: wandb, trackio, mlflow, or a class from outside, through accelerate.

They get the settings once, the numbers of every step, and frames of the validation videos. A
tracker that fails, such as without a network, is left out from then on; the run goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import InputError, MissingPackageError, first_line
from ...files import import_callable
from ...terminal import get_logger

if TYPE_CHECKING:
    from accelerate import Accelerator
    from accelerate.tracking import GeneralTracker

logger = get_logger(__name__)

PROJECT = "hummingbird"
# Package -> the argument by which its tracker in accelerate names a run.
PACKAGES = {"wandb": "name", "trackio": "name", "mlflow": "run_name"}
FRAMES_SHOWN = 8  # of a validation video: accelerate's interface has images, no videos


@dataclass(frozen=True)
class Watch:
    """Show a run to those who watch it.

    Args:
        title: the run's name on its progress bar and in a tracker; "": the name of its stage.
        tracker: one of `PACKAGES`, `MODULE:NAME` of a class derived from accelerate's
            `GeneralTracker`, or "" for none. TensorBoard's files are always written.
        settings: hyper-parameters to record, as nested mappings; empty: those of the training loop.
        kind_of_step: names the kind of a step, such as "16 frames", by its number; losses of each
            kind get a curve. "" for steps of one kind.
    """

    title: str = ""
    tracker: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    kind_of_step: Callable[[int], str] = lambda step: ""


def check_tracker(name: str) -> None:
    """Check that a tracker can be used here, before any work is done.

    Raises:
        InputError: there is no such tracker.
        MissingPackageError: its package is not installed.
    """
    if ":" in name:
        _import_tracker(name)
    elif name and name not in PACKAGES:
        raise InputError(
            f"got tracker {name!r}, expected {', '.join(PACKAGES)}, or MODULE:NAME: choose one"
        )
    elif name and find_spec(name) is None:
        raise MissingPackageError(
            f"got tracker {name}, expected its package: pip install {name}, or leave --tracker out "
            "and use TensorBoard"
        )


def _import_tracker(name: str) -> type[GeneralTracker]:
    from accelerate.tracking import GeneralTracker

    found = import_callable(name, "tracker")
    if not (isinstance(found, type) and issubclass(found, GeneralTracker)):
        raise InputError(
            f"got tracker {name!r}, expected a class derived from accelerate.tracking."
            "GeneralTracker: see docs/guides/training.md"
        )
    return found


class RunTracker:
    """The tracker of one run, in its main process.

    Args:
        accelerator: of the run.
        watch: names tracker, run and settings.
        folder: of the run; a tracker that requires a logging directory gets it.

    Raises:
        InputError: the tracker cannot be imported.
        MissingPackageError: its package is not installed.
    """

    def __init__(self, accelerator: Accelerator, watch: Watch, folder: Path) -> None:
        self.trackers: Sequence[GeneralTracker] = ()
        if watch.tracker:
            check_tracker(watch.tracker)
            self._attempt("start", partial(self._open, accelerator, watch, folder))

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Pass on numbers of a step."""
        for tracker in self.trackers:
            self._attempt("log", partial(tracker.log, dict(numbers), step=step))

    def log_video(self, step: int, name: str, frames: np.ndarray) -> None:
        """Pass on some frames of a video, uint8 `[T, H, W, 3]`, to a tracker that takes images."""
        count = min(FRAMES_SHOWN, len(frames))
        images = frames[np.linspace(0, len(frames) - 1, count).round().astype(int)]
        for tracker in self.trackers:
            if log_images := getattr(tracker, "log_images", None):
                self._attempt("log images", partial(log_images, {name: images}, step=step))

    def close(self) -> None:
        """End the run in the tracker; its last data are sent."""
        for tracker in self.trackers:
            self._attempt("finish", tracker.finish)

    def _open(self, accelerator: Accelerator, watch: Watch, folder: Path) -> None:
        from accelerate.tracking import filter_trackers

        log_with: list[Any] = [watch.tracker]
        if ":" in watch.tracker:
            make: Any = _import_tracker(watch.tracker)
            needs_folder = getattr(make, "requires_logging_directory", False)
            log_with = [make(watch.title, str(folder)) if needs_folder else make(watch.title)]
        accelerator.log_with = filter_trackers(log_with)
        names = {name: {key: watch.title} for name, key in PACKAGES.items()}
        accelerator.init_trackers(PROJECT, config=flat(watch.settings), init_kwargs=names)
        self.trackers = accelerator.trackers

    def _attempt(self, action: str, call: Callable[[], object]) -> None:
        """Call a tracker; its errors, of any kind, are no reason to lose the run."""
        try:
            call()
        except Exception as error:
            self.trackers = ()
            logger.warning(
                "the tracker could not %s (%s): the run goes on without it; its numbers are in "
                "the losses file and in TensorBoard",
                action,
                first_line(error),
            )


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, int | float | str | bool]:
    """Return nested settings by dotted names; values that trackers do not know become text."""
    found: dict[str, int | float | str | bool] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            is_plain = isinstance(value, bool | int | float | str)
            found[f"{prefix}{key}"] = value if is_plain else str(value)
    return found
