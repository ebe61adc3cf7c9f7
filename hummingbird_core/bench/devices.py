"""`hummingbird bench devices`: memory and time of every memory-saving mode.

Each mode is measured in a fresh process: loading, one U-Net call and one decoded frame. A video
takes one call per step and one decoding per frame; its peak is the largest of the three.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..devices import DTYPES
from ..errors import InputError
from ..offload import load_in_less_memory
from ..pipeline import HummingbirdPipeline
from ..vae.codec import decode_latents
from .measure import (
    EXACT,
    ROUNDED,
    TOTAL,
    Equality,
    Repeats,
    Speedup,
    Timing,
    row_or_out_of_memory,
    row_without,
)
from .models import BenchConfig, checkpoint_of, random_tensor, unet_inputs
from .peak_memory import (
    MIB,
    Peak,
    Usage,
    in_fresh_process,
    measure_loading,
    measure_peak,
)
from .report import BenchRow, Chart, Report

FP8_ERROR = 0.3  # relative L2 of one call; fp8 has three bits of mantissa


@dataclass(frozen=True)
class MemoryMode:
    """A memory-saving mode.

    Args:
        dtype: dtype of weights and arithmetic.
        memory: mode of `load_in_less_memory`; None loads everything.
        tolerance: relative L2 of one U-Net call against float32.
    """

    dtype: str = "fp32"
    memory: str | None = None
    tolerance: float = EXACT

    @property
    def frame_tolerance(self) -> float:
        """Return the tolerance of one decoded frame; VAE weights are always stored in `dtype`."""
        return EXACT if self.dtype == "fp32" else ROUNDED


@dataclass(frozen=True)
class ModeResult:
    """Memory and time of one mode."""

    loading: Usage
    unet: Peak
    frame: Peak

    @property
    def needed(self) -> int:
        """Return the largest peak, in bytes."""
        return max(self.loading.peak, self.unet.peak, self.frame.peak)


EVERYTHING = "fp32, everything in memory"
CPU_MODES = {
    EVERYTHING: MemoryMode(),
    "fp32, weights stored in bf16": MemoryMode(memory="bf16", tolerance=ROUNDED),
    "fp32, weights stored in fp8": MemoryMode(memory="fp8", tolerance=FP8_ERROR),
    "fp32, weights from disk": MemoryMode(memory="disk"),
    "bf16, everything in memory": MemoryMode("bf16", tolerance=ROUNDED),
    "bf16, weights stored in fp8": MemoryMode("bf16", "fp8", tolerance=FP8_ERROR),
    "bf16, weights from disk": MemoryMode("bf16", "disk", tolerance=ROUNDED),
}
GPU_MODES = {
    EVERYTHING: MemoryMode(),
    "fp32, weights from RAM": MemoryMode(memory="ram"),
    "bf16, everything in memory": MemoryMode("bf16", tolerance=ROUNDED),
    "bf16, weights stored in fp8": MemoryMode("bf16", "fp8", tolerance=FP8_ERROR),
    "bf16, weights from RAM": MemoryMode("bf16", "ram", tolerance=ROUNDED),
}


def report(settings: BenchConfig, repeats: Repeats, command: str) -> Report:
    """Measure every mode once; `repeats` is ignored."""
    modes = GPU_MODES if torch.device(settings.device).type == "cuda" else CPU_MODES
    with checkpoint_of(settings) as file:
        runs = {
            name: row_or_out_of_memory(in_fresh_process, run_mode, mode, settings, file)
            for name, mode in modes.items()
        }
    reference = reference_of(modes, runs)
    rows = [row_of(name, modes[name], runs, reference) for name in modes]
    return Report(
        name=settings.file_name("devices"),
        title=f"{settings.preset}: memory and time of every way to save memory",
        command=command,
        settings=settings,
        rows=rows,
        notes=(
            "One U-Net call and one decoded frame, cold; a video takes one call a step. Needed is "
            "the largest peak of loading, the call and the frame, on a CPU with the program "
            "itself, but in loading without the pages of the checkpoint's file. The text encoder "
            "runs before them, and is in memory unless weights stream.",
        ),
        chart=Chart.bars("MiB needed", rows, "needed MiB"),
    )


def reference_of(modes: dict[str, MemoryMode], runs: dict[str, ModeResult | None]) -> str:
    """Return the first exact mode that fits, the reference of the others.

    Raises:
        InputError: no exact mode fits into memory.
    """
    exact = [name for name, mode in modes.items() if mode.tolerance == EXACT]
    fitting = [name for name in exact if runs[name] is not None]
    if not fitting:
        raise InputError(
            f"got no result to compare with, since none of these fits into memory: "
            f"{'; '.join(exact)}; expected at least one: try a smaller --size or fewer --frames"
        )
    return fitting[0]


def row_of(
    name: str, mode: MemoryMode, runs: dict[str, ModeResult | None], reference: str
) -> BenchRow:
    """Return the row of a mode: times with their equalities, and memory."""
    expected, run = runs[reference], runs[name]
    if expected is None or run is None:
        return row_without(name, reference, [name])

    def speedup(before: Peak, after: Peak, tolerance: float) -> dict[str, Any]:
        equality = Equality.of(reference, before.result, {name: after.result}, tolerance)
        return Speedup(_timing(reference, before), _timing(name, after), equality).to_dict()

    return {
        **speedup(expected.unet, run.unet, mode.tolerance),
        "frame": speedup(expected.frame, run.frame, mode.frame_tolerance)["wall"],
        "loading MiB": run.loading.peak / MIB,
        "weights MiB": run.unet.before / MIB,
        "needed MiB": run.needed / MIB,
    }


def _timing(name: str, peak: Peak) -> Timing:
    return Timing(name, {TOTAL: peak.seconds})


def run_mode(mode: MemoryMode, settings: BenchConfig, file: str | Path) -> ModeResult:
    """Measure loading, one U-Net call and one decoded frame."""
    pipe, loading = measure_loading(lambda: _load(mode, settings, file), settings.device)
    unet = measure_peak(_unet_call(pipe, settings), settings.device)
    frame = measure_peak(_decode_frame(pipe, settings), settings.device)
    return ModeResult(loading, unet, frame)


def _load(mode: MemoryMode, settings: BenchConfig, file: str | Path) -> HummingbirdPipeline:
    place: dict[str, Any] = {"device": settings.device, "dtype": DTYPES[mode.dtype]}
    if mode.memory:
        return load_in_less_memory(file, mode.memory, **place)
    return HummingbirdPipeline.from_pretrained(file, **place)


def _unet_call(pipe: HummingbirdPipeline, settings: BenchConfig) -> Callable[[], Tensor]:
    inputs = unet_inputs(settings, pipe.unet)
    cast: dict[str, Any] = {
        name: value.to(pipe.dtype) if isinstance(value, Tensor) else value
        for name, value in inputs.items()
    }
    return lambda: pipe.unet(**cast)


def _decode_frame(pipe: HummingbirdPipeline, settings: BenchConfig) -> Callable[[], Tensor]:
    latents = random_tensor(settings, settings.latent_shape(1))
    vae: Any = pipe.vae
    return lambda: decode_latents(vae, latents, decode_chunk_size=1)
