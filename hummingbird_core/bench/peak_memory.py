"""Peak memory of one computation, by the allocator of a GPU or in a fresh process on a CPU.

A process keeps memory that it once took, so every measurement on the CPU starts a new one.
"""

from __future__ import annotations

import multiprocessing
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
import torch
from torch import Tensor

from .measure import TOTAL, Seconds, Stopwatch

Outcome = TypeVar("Outcome")
MIB = 2**20
SAMPLING_SECONDS = 0.005
_STATUS = Path("/proc/self/status")  # Linux
_RESET = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Usage:
    """Memory and time of some work.

    Attributes:
        before: bytes in use at the start: weights, and on a CPU the program itself.
        peak: largest number of bytes in use until the end.
        seconds: duration, without warm-up.
    """

    before: int
    peak: int
    seconds: Seconds

    @property
    def above(self) -> int:
        """Return the working memory, the bytes above `before`."""
        return self.peak - self.before


@dataclass(frozen=True)
class Peak(Usage):
    """Memory and time of one computation, with its result in float32 on the CPU."""

    result: Tensor


def in_fresh_process(function: Callable[..., Outcome], *args: Any) -> Outcome:
    """Run a module-level function in a new process that shares no memory with this one."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *args).result()


@torch.inference_mode()
def measure_peak(compute: Callable[[], Tensor], device: torch.device | str = "cpu") -> Peak:
    """Run `compute` once; on a CPU nothing else may run in this process."""
    result, usage = measure_usage(compute, device)
    return Peak(usage.before, usage.peak, usage.seconds, result.float().cpu())


def measure_usage(
    work: Callable[[], Outcome], device: torch.device | str = "cpu"
) -> tuple[Outcome, Usage]:
    """Measure work of any kind, such as loading a model; see `measure_peak`."""
    cuda = torch.device(device).type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    else:
        _reset_peak_rss()
    before = torch.cuda.memory_allocated(device) if cuda else psutil.Process().memory_info().rss
    watch = Stopwatch(device)
    with watch.part(TOTAL):
        result = work()
    peak = torch.cuda.max_memory_allocated(device) if cuda else peak_rss()
    return result, Usage(before, peak, watch.parts[TOTAL])


def measure_loading(
    load: Callable[[], Outcome], device: torch.device | str = "cpu"
) -> tuple[Outcome, Usage]:
    """Measure loading: `measure_usage`, on a CPU without memory-mapped pages of files.

    The system drops such pages when memory is short. The kernel records no peak without them, so
    memory is sampled every 5 ms.
    """
    if torch.device(device).type == "cuda":
        return measure_usage(load, device)
    before, stop = _unmapped(), threading.Event()
    seen = [before]

    def look() -> None:
        while not stop.wait(SAMPLING_SECONDS):
            seen.append(_unmapped())

    watcher, watch = threading.Thread(target=look), Stopwatch(device)
    watcher.start()
    try:
        with watch.part(TOTAL):
            result = load()
    finally:
        stop.set()
        watcher.join()
    return result, Usage(before, max(*seen, _unmapped()), watch.parts[TOTAL])


def _unmapped() -> int:
    """Return the memory of this process without mapped files, which only Linux counts."""
    info = psutil.Process().memory_info()
    return info.rss - getattr(info, "shared", 0)


def peak_rss() -> int:
    """Return the peak RAM of this process so far, in bytes."""
    if _STATUS.exists():  # the kernel's count; getrusage would include the parent
        lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    info = psutil.Process().memory_info()
    if hasattr(info, "peak_wset"):  # Windows
        return info.peak_wset
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _reset_peak_rss() -> None:
    """Reset the peak where the system can; elsewhere an earlier, larger peak still counts."""
    try:
        _RESET.write_text("5", encoding="ascii")
    except OSError:
        return
