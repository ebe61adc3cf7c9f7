"""Exported nano without PyTorch: size of the environment, start, time a video, equality.

    python3 tools/setup_env.py --runtime onnx --target outputs/small
    hummingbird export nano -o outputs/nano-onnx --to onnx
    python benchmarks/scripts/small_devices.py outputs/nano-onnx --python outputs/small/bin/python \
        -o benchmarks/results/small-devices

Every export runs in a process of the small environment, PyTorch in this one, both on one thread.
Times are CPU seconds, which other work on the machine hardly changes, besides seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from recording import write_results

ROOT = Path(__file__).resolve().parents[2]
PROMPTS = (
    "a red circle moves right",
    "a hummingbird flies right over a meadow",
    "the rocket is moving up at night",
    "a blue triangle drifts down",
)


def timed(function: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """Return a result, and its CPU seconds and seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = function()
    return result, {"cpu": time.process_time() - cpu, "seconds": time.perf_counter() - wall}


def median_time(function: Callable[[], Any], runs: int) -> dict[str, float]:
    times = [timed(function)[1] for _ in range(runs)]
    return {kind: statistics.median(t[kind] for t in times) for kind in ("cpu", "seconds")}


def run_export(folder: Path, runtime: str, runs: int, frames_file: Path) -> dict[str, Any]:
    """Measure an export; to be called in a process of the small environment."""
    wall, cpu = time.perf_counter(), time.process_time()
    from hummingbird_core.runtime.pipeline import ExportedPipeline

    pipe = ExportedPipeline(folder, runtime)
    loading = {"cpu": time.process_time() - cpu, "seconds": time.perf_counter() - wall}
    if "torch" in sys.modules:
        raise RuntimeError("the runner imported torch")
    videos = [pipe(prompt, seed=seed) for seed, prompt in enumerate(PROMPTS)]
    np.savez(
        frames_file,
        frames=np.concatenate([video.frames for video in videos]),
        latents=np.concatenate([video.latents for video in videos]),
    )
    # Of the process so far: the start of Python and all imports.
    return {
        "start_cpu": loading["cpu"] + cpu,
        "start_seconds": loading["seconds"],
        "video": median_time(lambda: pipe(PROMPTS[0]), runs),
        "dtype": pipe.settings.dtype,
        "differences": pipe.settings.differences,
        "decoder": pipe.settings.model.get("decoder"),
    }


def measure_export(args: argparse.Namespace, folder: Path, torch_runs: Any) -> dict[str, Any]:
    """Measure an export in a process of the small environment, against PyTorch's videos."""
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "videos.npz"
        command = [args.python, __file__, folder, "--inside", file, "--runtime", args.runtime]
        command += ["--runs", str(args.runs)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            list(map(str, command)), env=environment, check=True, capture_output=True, text=True
        )
        found = json.loads(done.stdout.splitlines()[-1])
        reference = torch_runs(found["decoder"])
        with np.load(file) as videos:
            levels = np.abs(videos["frames"].astype(int) - reference["frames"])
            error = np.linalg.norm(videos["latents"] - reference["latents"])
    relative = float(error / np.linalg.norm(reference["latents"]))
    files = sum(path.stat().st_size for path in folder.iterdir())
    difference = {"levels": float(levels.mean()), "latents": relative, "torch": reference["time"]}
    return {"export": folder.name, "runtime": args.runtime, "bytes": files, **found, **difference}


@cache
def torch_reference(runs: int, decoder: str | None) -> dict[str, Any]:
    """Return PyTorch's videos with a decoder, and its time."""
    import torch

    from hummingbird_core import HummingbirdPipeline
    from hummingbird_core.vae.tiny import load_fast_decoder

    torch.set_num_threads(1)
    pipe = HummingbirdPipeline.from_pretrained("nano", device="cpu")
    if decoder:
        pipe.vae = load_fast_decoder(decoder)
    videos = [pipe(prompt, seed=seed) for seed, prompt in enumerate(PROMPTS)]
    return {
        "frames": np.concatenate([video.frames for video in videos]).astype(int),
        "latents": np.concatenate([video.latents.numpy() for video in videos]),
        "time": median_time(lambda: pipe(PROMPTS[0]), runs),
    }


def accuracies(folder: Path, runtime: str, count: int) -> dict[str, str]:
    """Return the share of held-out prompts whose video shows all that they say."""
    from hummingbird_core.nano.evaluate import JOINT, evaluate_nano
    from hummingbird_core.runtime.pipeline import ExportedPipeline

    pipe = ExportedPipeline(folder, runtime)

    def single(prompts: list[str], **settings: Any) -> Any:
        return pipe(prompts[0], **settings)

    found = evaluate_nano(single, count, batch=1)
    return {"all right": str(found.accuracies[JOINT])}


def environment_bytes(python: Path) -> int:
    """Return the size of an environment, without the interpreter that it links to."""
    folder = python.absolute().parent.parent
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_symlink())


def to_row(found: dict[str, Any]) -> dict[str, Any]:
    return {
        "export": f"{found['export']} ({found['dtype']})",
        "runtime": found["runtime"],
        "files, MB": found["bytes"] / 1e6,
        "start, CPU s": found["start_cpu"],
        "a video, CPU s": found["video"]["cpu"],
        "in PyTorch": found["torch"]["cpu"],
        "one call, relative": f"{found['differences']['unet']:.1e}",
        "latents, relative": f"{found['latents']:.1e}",
        "frames, grey levels": f"{found['levels']:.1e}",
        **found["accuracies"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, help="exports of nano")
    parser.add_argument("--runtime", default="onnx")
    parser.add_argument("--python", type=Path, help="of the small environment")
    parser.add_argument("--prompts", type=int, default=0, help="held-out prompts a subject")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path, help="writes .json and .md")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)  # in the small environment
    args = parser.parse_args()
    if args.inside:
        found = run_export(args.folders[0], args.runtime, args.runs, args.inside)
        sys.stdout.write(f"{json.dumps(found)}\n")
        return
    reference = partial(torch_reference, args.runs)
    rows = [measure_export(args, folder, reference) for folder in args.folders]
    for folder, row in zip(args.folders, rows, strict=True):
        row["accuracies"] = accuracies(folder, args.runtime, args.prompts) if args.prompts else {}
    result = {
        "command": " ".join(["python", *sys.argv]),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "environment_bytes": environment_bytes(args.python),
        "exports": rows,
    }
    write_results(args.output, result, list(map(to_row, rows)))


if __name__ == "__main__":
    main()
