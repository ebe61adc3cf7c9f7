"""Measures `hummingbird curate` on synthetic clips.

    export PYTHONPATH=tests
    python benchmarks/curation.py faults -o benchmarks/curation-faults
    python benchmarks/curation.py speed --clips 200 2000 -o benchmarks/curation-speed

`faults` plants one fault in most of the clips and counts what the report finds: precision and
recall of each kind. `speed` gives time per clip and memory for growing numbers of clips, and the
time to select again. Clips are 2 s of 320x240 at 24 frames a second, made by tests/planted_faults.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import struct
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pyarrow.parquet
from planted_faults import KINDS, faulty, scene, write_clip

from hummingbird_core.curation.measuring import MeasureSettings
from hummingbird_core.curation.pipeline import curate, reselect
from hummingbird_core.curation.selection import Limit, Rule, SelectionSettings
from hummingbird_core.curation.sources import list_sources
from hummingbird_core.engines import LocalEngine

# What in the manifest says that a clip has the fault: rules that dropped it.
SIGNS = {
    "blur": {"blur"},
    "flicker": {"flicker"},
    "freeze": {"longest_freeze"},
    "black": {"black_fraction"},
    "cut": {"cuts"},  # and a boundary "cut": what was found is cut in two
    "jerk": {"motion_smoothness", "camera_shake"},
    "low bitrate": {"blockiness"},
}
DIFFERENT_SCENES = 40  # of the speed measurement; more clips are the same ones with other ids


def make_planted(folder: Path, count: int) -> dict[str, str]:
    """Name of each video -> the kind of its fault, "" for the three tenths that have none."""
    planted = {}
    for index in range(count):
        place = index % 10
        kind = KINDS[place] if place < len(KINDS) else ""
        frames = faulty(kind, index) if kind else scene(index)
        name = f"{index:04d}.mp4"
        write_clip(folder / name, frames, low_bitrate=kind == "low bitrate")
        planted[name] = kind
    return planted


def found_kinds(manifest: Path) -> dict[str, set[str]]:
    """Name of each video -> the kinds of fault that the manifest gives it."""
    found: dict[str, set[str]] = {}
    for row in pyarrow.parquet.read_table(manifest).to_pylist():
        rules = set(row["dropped_by"].split())
        kinds = {kind for kind, signs in SIGNS.items() if rules & signs}
        found.setdefault(row["source"], set()).update(kinds)
        if row["boundary"] == "cut":
            found[row["source"]].add("cut")
    return found


def measure_faults(count: int, workers: int) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        planted = make_planted(Path(folder) / "in", count)
        output = Path(folder) / "out"
        curate(
            list_sources(Path(folder) / "in"),
            output,
            LocalEngine(workers),
            MeasureSettings(),
            SelectionSettings(),
        )
        found = found_kinds(output / "manifest.parquet")
    table = {}
    for kind in KINDS:
        have = {name for name, planted_kind in planted.items() if planted_kind == kind}
        said = {name for name, kinds in found.items() if kind in kinds}
        table[kind] = {
            "planted": len(have),
            "found": len(have & said),
            "precision": len(have & said) / len(said) if said else None,
            "recall": len(have & said) / len(have) if have else None,
            "missed": sorted(have - said),
            "false": {name: planted[name] for name in sorted(said - have)},
        }
    return {"clips": count, "kinds": table}


def make_many(folder: Path, count: int) -> None:
    """Copies of a few scenes; a box that players skip makes each one's content its own."""
    folder.mkdir()
    scenes = []
    for seed in range(min(count, DIFFERENT_SCENES)):
        path = write_clip(folder / "scene.mp4", scene(seed))
        scenes.append(path.read_bytes())
        path.unlink()
    for index in range(count):
        mark = struct.pack(">I4sQ", 16, b"free", index)
        (folder / f"{index:06d}.mp4").write_bytes(scenes[index % len(scenes)] + mark)


@contextmanager
def memory_peak():
    """A list that ends as the peak memory, in MiB, of this process and of it with its workers."""
    peak, done = [0.0, 0.0], threading.Event()

    def watch() -> None:
        this = psutil.Process()
        while not done.wait(0.5):
            own = this.memory_info().rss
            others = 0
            for child in this.children(recursive=True):
                try:
                    others += child.memory_info().rss
                except psutil.Error:
                    continue  # it has ended since
            peak[:] = max(peak[0], own / 2**20), max(peak[1], (own + others) / 2**20)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def measure_speed(counts: list[int], workers: int) -> dict:
    rows = []
    keep_copies = SelectionSettings(duplicate_distance=None)
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            make_many(Path(folder) / "in", count)
            sources, output = list_sources(Path(folder) / "in"), Path(folder) / "out"
            start = time.perf_counter()
            with memory_peak() as peak:
                curate(sources, output, LocalEngine(workers), MeasureSettings(), keep_copies)
            seconds = time.perf_counter() - start
            stricter = replace(
                keep_copies, rules={**keep_copies.rules, "blur": Rule(maximum=Limit(0.5, True))}
            )
            start = time.perf_counter()
            reselect(output, stricter, clips_per_shard=None)
            again = time.perf_counter() - start
            row = {
                "clips": count,
                "seconds": round(seconds, 1),
                "seconds_per_clip": round(seconds / count, 4),
                "main_process_mib": round(peak[0]),
                "all_processes_mib": round(peak[1]),
                "select_again_seconds": round(again, 2),
            }
            logging.getLogger(__name__).warning("%s", row)
            rows.append(row)
    return {"workers": workers, "runs": rows}


def to_markdown(rows: list[dict]) -> str:
    heads = list(rows[0])
    lines = [heads, ["---"] * len(heads), *([_text(row[head]) for head in heads] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _text(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("faults", "speed"))
    parser.add_argument("--clips", type=int, nargs="+")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("-o", "--output", type=Path, required=True, help="writes .json and .md")
    args = parser.parse_args()
    if args.what == "faults":
        result = measure_faults((args.clips or [300])[0], args.workers)
        columns = ("planted", "found", "precision", "recall")
        rows = [
            {"fault": kind, **{name: numbers[name] for name in columns}}
            for kind, numbers in result["kinds"].items()
        ]
    else:
        result = measure_speed(args.clips or [200, 2000], args.workers)
        rows = result["runs"]
    args.output.with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")
    args.output.with_suffix(".md").write_text(to_markdown(rows))


if __name__ == "__main__":
    main()
