"""Starts of small processes at the same moment in one folder: how often are two let in?

    python benchmarks/scripts/lock_starts.py -o benchmarks/results/lock-starts

The processes meet at a barrier before each start. Some starts find the lock file of a holder that
was killed. Each that is let in stays inside while the others try.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from itertools import pairwise
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from recording import write_results

from hummingbird_core.engines.locks import LOCK_NAME, only_run_in
from hummingbird_core.errors import OutputError

STAYS = 0.002  # seconds inside


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--starts", type=int, default=1000, help="simultaneous starts")
    parser.add_argument("--processes", type=int, default=4, help="processes in each of them")
    parser.add_argument("-o", "--output", type=Path, required=True, help="without a suffix")
    args = parser.parse_args()
    rows = [measure(args.starts, args.processes, killed) for killed in (False, True)]
    result = {"command": " ".join(sys.argv), "system": sys.platform, "rows": rows}
    write_results(args.output, result, rows)


def measure(starts: int, processes: int, killed: bool) -> dict[str, Any]:
    """Return how many processes the starts let in, at the worst of them."""
    context = multiprocessing.get_context("spawn")
    barrier, log = context.Barrier(processes), context.SimpleQueue()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        shared = (Path(folder), starts, killed, barrier, log)
        workers = [context.Process(target=start_often, args=shared) for _ in range(processes)]
        for worker in workers:
            worker.start()
        stays = [stay for _ in workers for stay in log.get()]
        for worker in workers:
            worker.join()
    return {
        "lock file of a killed run there": "yes" if killed else "no",
        "starts": starts,
        "processes in each": processes,
        "starts that let two in": count_overlaps(stays),
        "starts that let one in": len({start for start, *_ in stays}),
        "seconds": time.perf_counter() - began,
    }


def start_often(folder: Path, starts: int, killed: bool, barrier: Barrier, log: Any) -> None:
    """Log (number of the start, first, last moment inside) for each time that it was let in."""
    stays = []
    for start in range(starts):
        place = folder / str(start)
        place.mkdir(exist_ok=True)
        if killed:
            (place / LOCK_NAME).touch()
        barrier.wait()
        try:
            with only_run_in(place):
                entered = time.monotonic_ns()
                time.sleep(STAYS)
                stays.append((start, entered, time.monotonic_ns(), os.getpid()))
        except OutputError:
            pass
    log.put(stays)


def count_overlaps(stays: list[tuple[int, int, int, int]]) -> int:
    """Return the number of starts in which two processes were inside at the same time."""
    ordered = sorted(stays)
    pairs = pairwise(ordered)
    return len({one[0] for one, two in pairs if one[0] == two[0] and two[1] < one[2]})


if __name__ == "__main__":
    main()
