"""The checks of tools/gpu_check.py: each takes the machine and returns rows of numbers.

A row with "failed" says what is wrong; an exception fails the whole check.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hummingbird_core import HummingbirdPipeline
from hummingbird_core.bench.measure import Repeats, relative_l2
from hummingbird_core.bench.models import BenchConfig
from hummingbird_core.bench.peak_memory import peak_rss
from hummingbird_core.bench.report import write_bench_report
from hummingbird_core.cli import main as hummingbird
from hummingbird_core.devices import DTYPES, check_device
from hummingbird_core.errors import InputError, NumericalError
from hummingbird_core.lora.formats import LoRA, LoRAWeight
from hummingbird_core.lora.layers import new_lora
from hummingbird_core.lora.merge import merge_lora
from hummingbird_core.offload import MEMORY, check_memory, load_in_less_memory
from hummingbird_core.video import write_video

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "benchmarks" / "scripts"))

ESTIMATES = ROOT / "benchmarks" / "results" / "training-memory.json"

PROMPT = "a red circle moves right"
# Largest mean difference of finished frames from the CPU's in fp32, of 255 grey levels: what a seed
# promises in fp32, and beyond it what tells rounding from a wrong result.
LEVELS = {"fp32": 1.0, "fp16": 4.0, "bf16": 12.0, "fp8": 60.0}
LEAST_EFFECT = 1e-3  # relative distance of the latents with the random LoRA from those without
MIB = 2**20
Row = dict[str, Any]


class NotForThisDeviceError(Exception):
    """A reason why a check does not apply."""


@dataclass(frozen=True)
class Machine:
    """A device, and the folder of the tables."""

    kind: str
    output: Path

    @cached_property
    def name(self) -> str:
        check_device(self.kind)
        if self.kind == "cuda":
            return torch.cuda.get_device_name()
        return {"mps": "Apple GPU (MPS)", "cpu": "CPU, small"}[self.kind]

    @property
    def is_small(self) -> bool:
        """Return whether only the checks themselves are tried."""
        return self.kind == "cpu"

    @cached_property
    def reference(self) -> Any:
        """The video of PROMPT on the CPU, in fp32."""
        return video_of(load("cpu"))


def load(device: str, dtype: str = "fp32") -> HummingbirdPipeline:
    return HummingbirdPipeline.from_pretrained("nano", device=device, dtype=DTYPES[dtype])


def video_of(pipe: HummingbirdPipeline, **settings: Any) -> Any:
    return pipe(PROMPT, seed=3, **{"num_inference_steps": 2, **settings})


def compare(what: str, got: Any, expected: Any, limit: float, **numbers: Any) -> Row:
    """Return a row with the distance of two videos, failed if the frames differ by more."""
    levels = float(np.abs(got.frames.astype(int) - expected.frames.astype(int)).mean())
    row = {"what": what, "latents": relative_l2(got.latents, expected.latents), "levels": levels}
    failed = f"more than {limit:g} grey levels from the CPU in fp32" if levels > limit else ""
    return {**row, **numbers, "failed": failed}


@contextmanager
def stopwatch(machine: Machine) -> Iterator[Row]:
    """Yield a row that afterwards holds seconds and peak MiB of the `with` block."""
    if machine.kind == "cuda":
        torch.cuda.reset_peak_memory_stats()
    row: Row = {}
    start = time.perf_counter()
    yield row
    if machine.kind != "cpu":
        getattr(torch, machine.kind).synchronize()
    row["seconds"] = time.perf_counter() - start
    if machine.kind != "mps":  # which has no peak
        peak = torch.cuda.max_memory_allocated() if machine.kind == "cuda" else peak_rss()
        row["peak MiB"] = round(peak / MIB)


def same_seed(machine: Machine) -> list[Row]:
    """Compare videos of a seed in each precision with the CPU's."""
    rows = []
    for dtype in DTYPES:
        pipe = load(machine.kind, dtype)
        video_of(pipe)  # warms up
        with stopwatch(machine) as row:
            video = video_of(pipe)
        rows.append(compare(dtype, video, machine.reference, LEVELS[dtype], **row))
    return rows


def memory_modes(machine: Machine) -> list[Row]:
    """Compare videos in every way to save memory with the CPU's."""
    rows = []
    for mode in MEMORY:
        try:
            check_memory(mode, machine.kind)
        except InputError as error:
            rows.append({"what": mode, "note": str(error)})
            continue
        with stopwatch(machine) as row:
            pipe = load_in_less_memory("nano", mode, device=machine.kind, dtype=torch.float32)
            video = video_of(pipe)
        rows.append(compare(mode, video, machine.reference, LEVELS.get(mode, 1.0), **row))
    return rows


def lora(machine: Machine) -> list[Row]:
    """Merge a LoRA on the device and on the CPU, and undo it."""
    here, there = load("cpu"), load(machine.kind)
    before = {key: value.clone() for key, value in there.unet.state_dict().items()}
    added = random_lora(here.unet)
    for pipe in (here, there):
        merge_lora(pipe.unet, added)
    merged = video_of(here)
    rows = [compare("merged", video_of(there), merged, LEVELS["fp32"])]
    if relative_l2(merged.latents, machine.reference.latents) < LEAST_EFFECT:
        rows.append({"what": "effect", "failed": "the LoRA changed nothing"})
    merge_lora(there.unet, added, strength=-1.0)
    after = there.unet.state_dict()
    is_same = all(torch.equal(after[key], value) for key, value in before.items())
    return [*rows, {"what": "undone", "failed": "" if is_same else "weights are not as before"}]


def random_lora(unet: Any) -> LoRA:
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for layer, (up, down, scale) in new_lora(unet, rank=4, alpha=4).weights.items():
        # A trained LoRA's updates are small beside the weights; a new one's are zero.
        factors = (0.05 * torch.randn(tensor.shape, generator=generator) for tensor in (up, down))
        weights[layer] = LoRAWeight(*factors, scale)
    return LoRA(weights, "new")


def long_video(machine: Machine) -> list[Row]:
    """Compare a video of several windows with the CPU's."""
    settings = {"num_frames": 40, "num_inference_steps": 1}
    expected = video_of(load("cpu"), **settings)
    got = video_of(load(machine.kind), **settings)
    return [compare("40 frames", got, expected, LEVELS["fp32"])]


def training(machine: Machine) -> list[Row]:
    """Train two steps of each stage, by the commands that people use; accelerate's device."""
    if machine.kind == "cpu" and torch.cuda.is_available():
        raise NotForThisDeviceError("training takes the GPU by itself")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        return [
            {"what": name, **train(machine, name, arguments)}
            for name, arguments in stages(folder).items()
        ]


def stages(folder: Path) -> dict[str, list[Any]]:
    clips = folder / "clips"
    clips.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (4, 64, 64, 3), np.uint8)
    write_video(clips / "clip.mp4", noise, 8)
    (clips / "clip.txt").write_text("a circle", encoding="utf-8")
    small = ["--steps", 2, "--batch", 2, "--set", "data.num_frames=2", "--set", "training.warmup=0"]
    small += ["--set", "data.height=64", "--set", "data.width=64"]
    teacher = ["--teacher", "nano-teacher", "--data", "nano"]
    student = folder / "distil" / "student.safetensors"
    return {
        "distil": [*teacher, "--student", "hummingbird-nano", "-o", folder / "distil", *small],
        "tune": [*teacher, "--student", student, "-o", folder / "tune", *small],
        "decoder": [
            *("--steps", 2, "--batch", 2, "--folder", folder / "decoder"),
            *("-o", folder / "decoder.safetensors"),
        ],
        "lora": [
            *(clips, "-o", folder / "lora.safetensors", "--steps", 2, "--batch", 1),
            *("--frames", 2),
        ],
    }


def train(machine: Machine, stage: str, arguments: list[Any]) -> Row:
    with stopwatch(machine) as row:
        code = hummingbird(["train", stage, *map(str, arguments)])
    return {**row, "failed": f"exit code {code}; its line is above" if code else ""}


def full_training_step(machine: Machine) -> list[Row]:
    """Train a step of each recipe at full size, with random weights, beside the estimate."""
    from training_memory import CASES, SMALL_CASE, Step

    if machine.kind == "mps":
        raise NotForThisDeviceError("MPS reports no peak of memory")
    rows = []
    for case in [SMALL_CASE] if machine.is_small else CASES:
        with torch.device(machine.kind):
            step = Step(case, lambda model: placed(model, machine.kind), machine.kind)
            step()
            with stopwatch(machine) as row:
                step()
        del step
        rows.append({"what": case.stage, **row, "estimated MiB": estimates().get(case.stage, "")})
    return rows


def estimates() -> dict[str, int]:
    """Return the recorded estimates of the peak of each stage, in MiB."""
    recorded = json.loads(ESTIMATES.read_text(encoding="utf-8"))["estimated"]
    peaks = {case["stage"]: case["GiB"].get("peak") for case in recorded}
    return {stage: round(peak * 1024) for stage, peak in peaks.items() if peak is not None}


def placed(model: Any, device: str) -> Any:
    """Return a model on the device, frozen weights in bf16."""
    for weight in model.parameters():
        if not weight.requires_grad:
            weight.data = weight.data.bfloat16()
    return model.to(device)


def tables(machine: Machine) -> list[Row]:
    """Write the tables of `hummingbird bench`; their checks of equality are in them."""
    if machine.kind == "mps":
        raise NotForThisDeviceError("time and memory are measured on cpu and cuda only")
    small = BenchConfig(frames=(4,), teacher_steps=2, student_steps=(1,), device=machine.kind)
    full = BenchConfig("hummingbird-0.7b", device=machine.kind)
    wanted = {"speed": [small], "decoders": [small]}
    if not machine.is_small:
        full_size = [replace(full, dtype=dtype) for dtype in ("bf16", "fp16")]
        wanted = dict.fromkeys(("speed", "modules", "decoders"), full_size)
    rows = []
    for table, configs in wanted.items():
        rows += [measured(machine, table, config) for config in configs]
    return rows


def compiled(machine: Machine) -> list[Row]:
    """Compile the U-Net, on a GPU with CUDA graphs, and compare it with the eager one."""
    if machine.kind == "mps":
        raise NotForThisDeviceError("compiling is not supported on MPS")
    config = BenchConfig("hummingbird-0.7b", dtype="fp16", device=machine.kind)
    if machine.is_small:
        config = BenchConfig(frames=(4,))
    return [measured(machine, "compile", config)]


def measured(machine: Machine, table: str, config: BenchConfig) -> Row:
    """Write one table and return a row that names it, failed if its check of equality did."""
    from importlib import import_module

    module = import_module(f"hummingbird_core.bench.{table}")
    try:
        report = module.report(config, Repeats(1, 1), f"tools/gpu_check.py: {table}")
    except NumericalError as error:
        return {"what": f"{table} {config.dtype}", "failed": str(error)}
    write_bench_report(report, machine.output)
    return {"what": f"{table} {config.dtype}", "file": f"{report.name}.md", "failed": ""}


# The most telling first, as time may run out; compiling last, which takes longest on a CPU.
CHECKS: dict[str, Callable[[Machine], list[Row]]] = {
    "same seed": same_seed,
    "memory modes": memory_modes,
    "lora": lora,
    "long video": long_video,
    "training": training,
    "tables": tables,
    "full training step": full_training_step,
    "compiled": compiled,
}
