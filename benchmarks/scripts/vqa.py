"""Time and memory of DOVER and DOVER-Mobile on a CPU, and of the measures without weights.

    python benchmarks/scripts/vqa.py -o benchmarks/results/vqa

The weights are random, which costs as much as trained ones. Each model runs in a fresh process,
whose peak memory is reported; the first row is a process without a model.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from pathlib import Path

import numpy as np
import torch
from recording import write_results

from hummingbird_core.bench.peak_memory import peak_rss
from hummingbird_core.vqa import DOVER, score_video
from hummingbird_core.weights.state_dict import count_parameters

FRAMES, HEIGHT, WIDTH = 16, 320, 512


def measure(name: str | None) -> dict:
    """Score one video; `name` is a preset of DOVER, or None."""
    video = np.random.default_rng(0).integers(0, 256, (FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8)
    torch.manual_seed(0)
    dover = DOVER.from_preset(name).eval() if name else None
    start = time.perf_counter()
    score_video(video, dover=dover)
    return {
        "scores": name or "none: measures only",
        "parameters, million": count_parameters(dover.parameters()) / 1e6 if dover else 0,
        "seconds": round(time.perf_counter() - start, 2),
        "peak memory, MiB": round(peak_rss() / 2**20),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="writes .json and .md")
    args = parser.parse_args()
    rows = []
    for name in (None, "dover-mobile", "dover"):
        with multiprocessing.get_context("spawn").Pool(1) as process:
            rows.append(process.apply(measure, (name,)))
    video = f"{FRAMES} frames of {HEIGHT}x{WIDTH}"
    result = {"video": video, "threads": torch.get_num_threads(), "runs": rows}
    write_results(args.output, result, rows)


if __name__ == "__main__":
    main()
