"""Time that ComfyUI adds to a video: its server against the library (table e).

    export COMFYUI_PATH=.comfyui/ComfyUI PYTHONPATH=.:tests:tools
    .comfyui/venv/bin/python benchmarks/scripts/comfyui.py -o benchmarks/results

Both make the same videos from the same prompt, encode them as mp4, and have their models loaded.
The server's time is measured between its messages of start and success. The plot needs matplotlib
in that environment.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from comfy_install import comfyui_path
from comfy_server import ComfyServer
from support.comfy.graphs import PROMPT, base, sample_video
from torch import Tensor
from workflow_graphs import Graph, node

from hummingbird_core.bench.measure import (
    TOTAL,
    Equality,
    Repeats,
    Seconds,
    Speedup,
    Stopwatch,
    Timing,
    Variant,
    measure_variants,
)
from hummingbird_core.bench.models import BenchConfig, load_pipeline
from hummingbird_core.bench.report import BenchRow, Chart, Report, write_bench_report
from hummingbird_core.pipeline import HummingbirdPipeline, VideoOutput
from hummingbird_core.video import write_video

STEPS, FRAMES = (1, 2, 4, 8), (16, 26)
GUIDANCE, FPS, SEED = 7.5, 8.0, 5
# Of frames in 255 levels: for a pixel in a hundred, rounding errors lead to the next one.
NEXT_LEVEL = 5e-3


def graph(frames: int, steps: int, seed: int, save: dict[str, Any]) -> Graph:
    return {
        **base(weight_dtype="fp32", frames=frames),
        "sample": sample_video(frames=frames, steps=steps, seed=seed, guidance=GUIDANCE, fps=FPS),
        "decode": node("HummingbirdDecode", samples=["sample", 0], vae=["load", 2], fps=0.0),
        "save": save,
    }


def in_server(server: ComfyServer, frames: int, steps: int, repeats: int) -> Timing:
    """Return the median time of an mp4; seeds differ, since ComfyUI caches equal jobs."""
    save = node("SaveVideo", video=["decode", 1], filename_prefix="v", format="mp4", codec="h264")
    seconds = []
    for seed in range(repeats + 1):
        entry = server.wait(server.queue(graph(frames, steps, 100 + seed, save)))
        times = {kind: data["timestamp"] for kind, data in entry["status"]["messages"]}
        seconds.append((times["execution_success"] - times["execution_start"]) / 1000)
    median = sorted(seconds[1:])[repeats // 2]  # the first one loads the models
    return Timing("ComfyUI", {TOTAL: Seconds(median, median)})


def make_video(pipe: HummingbirdPipeline, frames: int, steps: int) -> VideoOutput:
    return pipe(
        PROMPT,
        num_frames=frames,
        num_inference_steps=steps,
        guidance_scale=GUIDANCE,
        fps=FPS,
        seed=SEED,
    )


def with_library(pipe: HummingbirdPipeline, frames: int, steps: int) -> Variant:
    def run(watch: Stopwatch) -> Tensor:
        video = make_video(pipe, frames, steps)
        with tempfile.TemporaryDirectory() as folder:
            write_video(Path(folder, "video.mp4"), video.frames[0], FPS)
        return torch.from_numpy(video.frames[0])  # [T, H, W, 3]

    return Variant("library", run)


def same_frames(
    server: ComfyServer, pipe: HummingbirdPipeline, frames: int, steps: int
) -> Equality:
    save = node("SaveImage", images=["decode", 0], filename_prefix="frame")
    images = server.frames(server.run(graph(frames, steps, SEED, save)))
    decoded = pipe.decode(make_video(pipe, frames, steps).latents)[0]  # [3, T, H, W]
    # As Save Image does it: it cuts off what the library rounds.
    expected = (255 * (decoded / 2 + 0.5).clamp(0, 1)).floor().movedim(0, -1)
    results = {"ComfyUI": torch.from_numpy(images.copy()).float()}
    return Equality.of("library", expected, results, NEXT_LEVEL)


def row(
    server: ComfyServer, pipe: HummingbirdPipeline, frames: int, steps: int, runs: int
) -> BenchRow:
    measured = measure_variants([with_library(pipe, frames, steps)], Repeats(runs))
    comfyui = in_server(server, frames, steps, runs)
    equality = same_frames(server, pipe, frames, steps)
    library = measured.timings["library"]
    return {
        "frames": frames,
        "steps": steps,
        "library": {"seconds": library.total.wall},
        "ComfyUI": Speedup(library, comfyui, equality).to_dict()["wall"],
        "added": {"seconds": comfyui.total.wall - library.total.wall},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    settings = BenchConfig(preset="nano", frames=FRAMES)
    pipe = load_pipeline(settings)
    with (
        tempfile.TemporaryDirectory() as folder,
        ComfyServer(comfyui_path(), Path(folder, "base")) as server,
    ):
        cases = [(frames, steps) for frames in FRAMES for steps in STEPS]
        rows = [row(server, pipe, frames, steps, args.repeats) for frames, steps in cases]
    report = Report(
        name="comfyui-nano",
        title="nano: a video through ComfyUI and by the library",
        command=shlex.join(["python", "benchmarks/scripts/comfyui.py", *sys.argv[1:]]),
        settings=settings,
        rows=rows,
        notes=(
            "From prompt to mp4 with the models loaded. In ComfyUI: Sample Video, Decode and the "
            "core's Save Video in a real server. Equality is the distance of the frames of one "
            "seed, in 255 levels.",
        ),
        chart=Chart(
            "steps",
            "seconds of a video of 16 frames",
            {
                name: [(r["steps"], r[name]["seconds"]) for r in rows if r["frames"] == FRAMES[0]]
                for name in ("library", "ComfyUI")
            },
        ),
    )
    write_bench_report(report, args.output)


if __name__ == "__main__":
    main()
