"""Run jobs: one after the other in this process, or on many devices with an engine.

Both call `generate_video`, and each job has its own seed, so a video does not depend on the
process that generates it or on the other jobs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Protocol

from .. import __version__
from ..engines.failures import FailureStreak
from ..engines.local import WORKER_DIED
from ..errors import HummingbirdError, InputError, first_line, machine_advice, memory_advice
from ..files import atomic_write
from ..terminal import get_logger, print_line
from ..video.files import write_contact_sheet, write_video
from .interrupt import graceful_interrupt
from .jobs import Job

if TYPE_CHECKING:
    import numpy as np

    from ..engines.journal import Journal
    from ..engines.local import Engine
    from ..reporting import Progress

logger = get_logger(__name__)


class VideoModel(Hashable, Protocol):
    """A model, not loaded yet: `ModelConfig`, or `ExportedModelConfig` for other runtimes."""

    def record(self) -> dict[str, Any]:
        """Return everything about the model that determines the result."""

    def absolute(self) -> VideoModel:
        """Return the model with absolute paths, for a process with another working directory."""

    def check(self) -> None:
        """Raise HummingbirdError if something is missing."""

    def load(self) -> Callable[..., Any]:
        """Return a pipeline, called like `HummingbirdPipeline`."""


def generate_missing(
    jobs: list[Job],
    model: VideoModel,
    overwrite: bool,
    engine: Engine | None,
    journal: Path,
) -> int:
    """Generate the missing videos, after checking all settings and outputs.

    Args:
        jobs: all jobs, finished ones included.
        model: the model that runs them.
        overwrite: generate all videos again, and replace files made with other settings.
        engine: None runs the jobs in this process and stops at the first failure.
        journal: file for the results and failures of an engine.

    Returns:
        The exit code: 2 if some videos failed.
    """
    for job in jobs:
        job.check_settings()
        job.check_outputs(overwrite)
    todo = []
    for job in jobs:
        if overwrite or not job.is_done():
            todo.append(job)
        else:
            print_line(f"kept {job.outputs[0]}: it was made with the same settings")
    if not todo:
        return 0
    if engine:
        return _generate_on(engine, todo, model, journal)
    with graceful_interrupt() as interrupted:
        generate_here(todo, model, interrupted)
    return 0


def _generate_on(engine: Engine, jobs: list[Job], model: VideoModel, path: Path) -> int:
    from ..engines.journal import Journal

    model.check()
    with Journal(path) as journal:
        failed = generate_on(engine, [job.absolute() for job in jobs], model.absolute(), journal)
    if failed:
        logger.error(
            "%d of %d videos failed, see %s; the same command tries them again",
            failed,
            len(jobs),
            path,
        )
    return 2 if failed else 0


def generate_here(jobs: list[Job], model: VideoModel, interrupted: Event) -> None:
    """Run all jobs in this process; the first failure ends the run."""
    pipe = model.load()
    for number, job in enumerate(jobs, start=1):
        with _shown_progress(f"{number}/{len(jobs)} " if len(jobs) > 1 else "") as progress:
            generate_video(pipe, job, progress)
        for path in job.outputs:
            print_line(f"wrote {path}")
        if interrupted.is_set():
            raise KeyboardInterrupt


def generate_on(engine: Engine, jobs: list[Job], model: VideoModel, journal: Journal) -> int:
    """Run all jobs on an engine and return the number of failures.

    The journal gets one line per job: the main file's name as key, `seconds` or `error` as value.

    Raises:
        HummingbirdError: everything fails for one reason that does not lie in the jobs.
    """
    from tqdm import tqdm

    failed = 0
    stage = partial(generate_or_report, model=model)
    streak = FailureStreak("videos")
    with tqdm(total=len(jobs), unit="video", disable=None, leave=False) as bar:
        for job, report in engine.map(stage, jobs, _worker_died):
            name = job.outputs[0].name
            is_machines_fault = report.pop("again", False)
            journal.append(name, {"prompt": job.settings.prompt, **report})
            if "error" in report:
                failed += 1
                logger.warning("%s failed: %s", job.origin or name, report["error"])
                if is_machines_fault:
                    streak.failed(name, report["error"])
            else:
                streak.succeeded()
                with bar.external_write_mode():
                    for path in job.outputs:
                        print_line(f"wrote {path}")
            bar.update()
    return failed


def generate_or_report(job: Job, model: VideoModel) -> dict[str, Any]:
    """Generate one video without raising: the stage that engines run.

    Returns:
        `{"seconds": ...}`, or `{"error": one line}` with `again` for a cause outside the job.
    """
    began = time.perf_counter()
    try:
        generate_video(_load_once(model), job)
    except InputError as error:
        return {"error": _one_line(error)}
    # One video may exceed the memory or find the disk full: only that job fails.
    except Exception as error:
        return {"error": _one_line(error), "again": True}
    return {"seconds": round(time.perf_counter() - began, 3)}


def generate_video(pipe: Callable[..., Any], job: Job, progress: Progress | None = None) -> None:
    """Generate one video and write all its files."""
    # Exported models take none.
    start = {} if job.start_image is None else {"start_image": job.start_image}

    def generate(seed: int) -> np.ndarray:
        settings = {**vars(job.settings), "seed": seed}
        return pipe(**settings, **start, progress=progress).frames[0]

    if job.best_of is None:
        _write(job, generate(job.settings.seed))
        return
    from .best_of import agreement_with, best_video

    agreement = agreement_with(job.settings.prompt, job.best_of.agreement)
    seeds = job.best_of.seeds(job.settings.seed)
    _write(job, *best_video(generate, seeds, agreement, job.settings.fps))


@lru_cache(maxsize=1)  # loaded once in each process of an engine
def _load_once(model: VideoModel) -> Callable[..., Any]:
    return model.load()


def _worker_died(job: Job) -> dict[str, Any]:
    return {"error": WORKER_DIED, "again": True}


def _one_line(error: Exception) -> str:
    if advice := memory_advice(error):
        return advice
    if not isinstance(error, HummingbirdError) and (advice := machine_advice(error)):
        return advice
    line, kind = first_line(error), type(error).__name__
    return line if isinstance(error, HummingbirdError) or line == kind else f"{kind}: {line}"


@contextmanager
def _shown_progress(label: str) -> Iterator[Progress]:
    """Yield a progress callback with a bar, which only a terminal shows."""
    from tqdm import tqdm

    with tqdm(disable=None, leave=False) as bar:

        def progress(done: int, total: int, text: str) -> None:
            bar.total, bar.n = total, done
            bar.set_description_str(f"{label}{text}")

        yield progress


def _write(job: Job, frames: np.ndarray, facts: Mapping[str, Any] | None = None) -> None:
    height, width = frames.shape[1:3]
    record = {
        **job.record,
        **(facts or {}),
        "width": width,
        "height": height,
        "hummingbird": __version__,
    }
    for path in job.videos:
        write_video(path, frames, job.settings.fps, record)
    if job.contact_sheet:
        write_contact_sheet(job.contact_sheet, frames, metadata=record)
    if job.json:
        with atomic_write(job.json) as temporary:
            temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
