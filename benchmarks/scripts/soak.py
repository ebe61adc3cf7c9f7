"""Memory of one process over many videos: does it creep?

    python benchmarks/scripts/soak.py -o benchmarks/results/soak

Generates small videos with the built-in model, all of one size and then of changing sizes, each
kind in a separate process. The slope is that of a straight line through the last two thirds.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
from pathlib import Path
from typing import Any

import psutil
from recording import write_results

from hummingbird_core.bench.peak_memory import MIB, in_fresh_process
from hummingbird_core.pipeline import HummingbirdPipeline

GOAL = 0.05  # MiB a call
WORDS = [
    "red",
    "blue",
    "green",
    "yellow",
    "circle",
    "square",
    "triangle",
    "star",
    "moves",
    "right",
    "left",
    "up",
    "down",
]
KINDS = ("one size", "changing sizes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("-o", "--output", type=Path, required=True, help="without a suffix")
    args = parser.parse_args()
    rows = [in_fresh_process(measure, kind, args.calls) for kind in KINDS]
    result = {"command": " ".join(sys.argv), "goal MiB a call": GOAL, "rows": rows}
    write_results(args.output, result, rows)


def measure(kind: str, calls: int) -> dict[str, Any]:
    """Generate `calls` videos; return the memory on the way and its slope at the end."""
    logging.disable(logging.WARNING)  # of sizes that the model was not trained on
    pipe = HummingbirdPipeline.from_pretrained("nano")
    used = []
    for call in range(calls):
        word = WORDS[call % len(WORDS)]
        pipe(f"a {word} circle moves right", seed=call, **settings(kind, call))
        used.append(psutil.Process().memory_info().rss / MIB)
    last = used[calls // 3 :]
    slope = statistics.linear_regression(range(len(last)), last).slope
    return {
        "videos": kind,
        "calls": calls,
        "MiB after the first": used[0],
        f"MiB after {calls // 3}": used[calls // 3],
        f"MiB after {calls}": used[-1],
        f"MiB a call, last {len(last)}": slope,
    }


def settings(kind: str, call: int) -> dict[str, int]:
    """Return the size of a video; the changing ones repeat after 36 calls."""
    if kind == "one size":
        return {"num_frames": 8, "width": 64, "height": 64, "num_inference_steps": 2}
    return {
        "num_frames": 4 + call % 9,
        "width": 48 + 16 * (call % 4),
        "height": 48 + 16 * (call % 3),
        "num_inference_steps": 2,
    }


if __name__ == "__main__":
    main()
