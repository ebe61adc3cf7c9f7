r"""Time and memory of `hummingbird curate` per clip, and their growth.

2 s of 320x240 at 24 fps; 100 different scenes, repeated:

    export PYTHONPATH=tests
    python benchmarks/scripts/curation_growth.py make CLIPS --clips 2000 --scenes 100
    python benchmarks/scripts/curation_growth.py measure CLIPS 200 2000 \
        -o benchmarks/results/curation-time

20,000 small clips, 18 frames of 64x48; 300 different scenes, repeated:

    python benchmarks/scripts/curation_growth.py make SMALL --clips 20000 --scenes 300 \
        --size 64x48 --frames 18
    python benchmarks/scripts/curation_growth.py measure SMALL 200 2000 4000 6000 8000 10000 \
        12000 14000 16000 18000 20000 -o benchmarks/results/curation-growth

The main process alone, for which 50 clips are measured and their rows repeated:

    for count in 200 2000 10000 20000; do
        python benchmarks/scripts/curation_growth.py main SMALL $count \
            -o benchmarks/results/curation-memory
    done

With `measure`, the clips up to each number are curated in one folder, so a row measures the clips
since the previous row. Recorded rows are not measured again, so the script continues after an
interruption.

Beside other work, wall times say little and CPU times are longer than on an idle machine, by about
half where others hold all cores. Compare two states of the code at the same time, then, with a name
for each: `--code before` with the older package first in PYTHONPATH.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import time
from itertools import cycle, islice
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from recording import memory_peak, write_results
from support.planted_defects import FPS, scene

from hummingbird_core.curation.measure import MeasureConfig, clip_path
from hummingbird_core.curation.pipeline import curate, reselect
from hummingbird_core.curation.selection import Limit, Rule, SelectionConfig
from hummingbird_core.curation.source_video import SourceVideo
from hummingbird_core.curation.sources import list_sources
from hummingbird_core.curation.stages.duplicates import HASH_BITS, near_duplicates
from hummingbird_core.engines.local import LocalEngine

# The copies of a scene are to be kept, so that all clips go into shards.
KEEP_COPIES = SelectionConfig(duplicate_distance=None)
MEASURED = 50  # clips that `main` measures
STRICTER = {"blur": Rule(maximum=Limit(0.5, quantile=True))}


class TimedEngine(LocalEngine):
    """The local engine, with the seconds and CPU seconds of its last `map`."""

    seconds = cpu_seconds = 0.0

    def map(self, stage, items, on_worker_death):
        start, cpu_start = time.perf_counter(), cpu_seconds()
        yield from super().map(stage, items, on_worker_death)
        self.seconds = time.perf_counter() - start
        self.cpu_seconds = cpu_seconds() - cpu_start


class RepeatingEngine(LocalEngine):
    """Measures MEASURED items; all others get copies of their rows, with other ids and hashes."""

    def map(self, stage, items, on_worker_death):
        items, folder = iter(items), stage.keywords["clip_folder"]
        first = list(super().map(stage, islice(items, MEASURED), on_worker_death))
        yield from first
        rng = np.random.default_rng(0)
        for item, (_, rows) in zip(items, cycle(first), strict=False):
            yield item, [_copied(row, rng, folder) for row in rows]


def _copied(row: dict, rng: np.random.Generator, folder: Path) -> dict:
    """Return the row of a new clip, whose files are links to those of `row`."""
    source_id = rng.bytes(8).hex()
    copy = {**row, "source_id": source_id, "id": source_id + row["id"][len(source_id) :]}
    target, original = clip_path(folder, copy["id"]), clip_path(folder, row["id"])
    target.parent.mkdir(parents=True, exist_ok=True)
    for suffix in (".mp4", ".jpg"):
        target.with_suffix(suffix).hardlink_to(original.with_suffix(suffix))
    return {**copy, "hash": rng.bytes(HASH_BITS // 8).hex()}


def measure_main(args: argparse.Namespace) -> None:
    """Record time and memory of all that the main process does, in the default settings."""
    recorded = args.output.with_suffix(".json")
    rows = json.loads(recorded.read_text())["runs"] if recorded.exists() else []
    source, output = args.folder / f"in{args.clips}", args.folder / f"out{args.code}{args.clips}"
    source.mkdir(parents=True, exist_ok=True)
    made = sorted((args.folder / "in").glob("*.mp4"))[:MEASURED]
    for number in range(args.clips):
        link = source / f"{number:06d}.mp4"
        link.exists() or link.hardlink_to(made[number % len(made)])
    start = cpu_seconds()
    with memory_peak() as peak:
        result = curate(
            list_sources(source), output, RepeatingEngine(1), MeasureConfig(), SelectionConfig()
        )
    row = {
        "clips": result.clips,
        "kept": result.kept,
        "main process, MiB": round(peak[0]),
        "CPU s with the measuring of 50": round(cpu_seconds() - start, 1),
    }
    rows.append({"code": args.code, **row} if args.code else row)
    write_results(args.output, {"runs": rows}, rows)


def cpu_seconds() -> float:
    """Return the time of this process and of its children that have ended."""
    return sum(os.times()[:4])


def make_clips(folder: Path, args: argparse.Namespace) -> None:
    """Scenes by one encoder, which begins a new file every `frames` frames; then their copies."""
    folder.mkdir(parents=True)
    width, height = map(int, args.size.split("x"))
    scenes = min(args.scenes or args.clips, args.clips)
    writer = imageio_ffmpeg.write_frames(
        folder / "%06d.mp4",
        (width, height),
        fps=FPS,
        quality=8,
        macro_block_size=1,
        ffmpeg_log_level="error",
        output_params=[
            *("-g", str(args.frames), "-keyint_min", str(args.frames), "-sc_threshold", "0"),
            *("-f", "segment", "-segment_time", str(args.frames / FPS), "-reset_timestamps", "1"),
        ],
    )
    writer.send(None)
    for seed in range(scenes):
        for frame in scene(seed, args.frames, height, width):
            writer.send(np.ascontiguousarray(frame))
    writer.close()
    for index in range(scenes, args.clips):
        # A box that players skip gives each copy different content, hence a different id.
        mark = struct.pack(">I4sQ", 16, b"free", index)
        original = (folder / f"{index % scenes:06d}.mp4").read_bytes()
        (folder / f"{index:06d}.mp4").write_bytes(original + mark)


def measure(sources: list[SourceVideo], output: Path, workers: int) -> dict:
    """Curate what of `sources` is not done, all stages after it, and select again."""
    journals = (output / "journal").glob("*.jsonl")
    done = sum(path.read_bytes().count(b"\n") for path in journals)
    engine = TimedEngine(workers)
    start = time.perf_counter()
    with memory_peak() as peak:
        result = curate(sources, output, engine, MeasureConfig(), KEEP_COPIES)
    whole = time.perf_counter() - start
    stricter = SelectionConfig(rules={**KEEP_COPIES.rules, **STRICTER})
    start = time.perf_counter()
    again = reselect(output, stricter, clips_per_shard=None)
    again_seconds = time.perf_counter() - start
    return {
        "clips": result.clips,
        "ms per clip": round(1000 * engine.seconds / (len(sources) - done), 1),
        "CPU ms per clip": round(1000 * engine.cpu_seconds / (len(sources) - done), 1),
        "manifest, shards and report, s": round(whole - engine.seconds, 2),
        "main process, MiB": round(peak[0]),
        "with workers, MiB": round(peak[1]),
        "kept": result.kept,
        "selecting again, s": round(again_seconds, 2),
        "kept then": again.kept,
        "looking for copies among different clips, s": round(copies_seconds(result.clips), 2),
    }


def copies_seconds(count: int) -> float:
    """Time the search where no clip is a copy and none is left out early."""
    rng = np.random.default_rng(0)
    hashes = [(row, rng.bytes(HASH_BITS // 8).hex()) for row in range(count)]
    start = time.perf_counter()
    near_duplicates(hashes, SelectionConfig().duplicate_distance or 0)
    return time.perf_counter() - start


def measure_all(args: argparse.Namespace) -> None:
    recorded = args.output.with_suffix(".json")
    rows = json.loads(recorded.read_text())["runs"] if recorded.exists() else []
    sources = list_sources(args.folder / "in")
    for count in args.counts:
        if (args.code, count) not in [(row.get("code", ""), row["clips"]) for row in rows]:
            row = measure(sources[:count], args.folder / f"out{args.code}", args.workers)
            rows.append({"code": args.code, **row} if args.code else row)
            write_results(args.output, {"workers": args.workers, "runs": rows}, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("make", help="the clips")
    make.add_argument("folder", type=Path)
    make.add_argument("--clips", type=int, required=True)
    make.add_argument("--scenes", type=int, help="different ones (default: all)")
    make.add_argument("--size", default="320x240", metavar="WxH")
    make.add_argument("--frames", type=int, default=48)
    run = commands.add_parser("measure", help="time and memory")
    run.add_argument("folder", type=Path)
    run.add_argument("counts", type=int, nargs="+")
    run.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    run.add_argument("--code", default="", help="name of the state of the code, in the record")
    run.add_argument("-o", "--output", type=Path, required=True, help="writes .json and .md")
    alone = commands.add_parser("main", help="memory of the main process")
    alone.add_argument("folder", type=Path)
    alone.add_argument("clips", type=int)
    alone.add_argument("--code", default="", help="name of the state of the code, in the record")
    alone.add_argument("-o", "--output", type=Path, required=True, help="writes .json and .md")
    args = parser.parse_args()
    if args.command == "make":
        make_clips(args.folder / "in", args)
    elif args.command == "main":
        measure_main(args)
    else:
        measure_all(args)


if __name__ == "__main__":
    main()
