"""`hummingbird bench devices`: what fits into how much memory, and how long it then takes.

For every way to save memory: one U-Net call and one decoded frame, in a process of its own. A video
takes as many calls as it has steps and as many frames as it has frames; its peak is the larger of
the two.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..offload import store_weights, stream_from_disk, stream_from_ram
from ..pipeline import HummingbirdPipeline
from ..vae import decode_latents
from .bench_measure import EXACT, ROUNDED, TOTAL, Equality, Repeats, Speedup, Timing
from .bench_models import BenchSettings, load_pipeline, random_tensor, unet_inputs
from .bench_peak import MIB, Peak, in_fresh_process, measure_peak
from .bench_report import Chart, Report, Row

FP8_ERROR = 0.3  # relative L2 of one call: three bits of mantissa


@dataclass(frozen=True)
class Mode:
    """A way to run the models.

    Args:
        dtype: weights and arithmetic.
        storage: what the U-Net's weights wait in, if that is another dtype.
        stream: "disk", "ram" (for a GPU) or None.
        tolerance: of one U-Net call, against float32 with everything in memory.
    """

    dtype: str = "fp32"
    storage: torch.dtype | None = None
    stream: str | None = None
    tolerance: float = EXACT


EVERYTHING = "fp32, everything in memory"
CPU_MODES = {
    EVERYTHING: Mode(),
    "fp32, weights stored in bf16": Mode(storage=torch.bfloat16, tolerance=ROUNDED),
    "fp32, weights stored in fp8": Mode(storage=torch.float8_e4m3fn, tolerance=FP8_ERROR),
    "fp32, weights from disk": Mode(stream="disk"),
    "bf16, everything in memory": Mode(dtype="bf16", tolerance=ROUNDED),
    "bf16, weights stored in fp8": Mode("bf16", torch.float8_e4m3fn, tolerance=FP8_ERROR),
    "bf16, weights from disk": Mode("bf16", stream="disk", tolerance=ROUNDED),
}
GPU_MODES = {
    EVERYTHING: Mode(),
    "bf16, everything in memory": Mode("bf16", tolerance=ROUNDED),
    "bf16, weights stored in fp8": Mode("bf16", torch.float8_e4m3fn, tolerance=FP8_ERROR),
    "bf16, weights from RAM": Mode("bf16", stream="ram", tolerance=ROUNDED),
}


def report(settings: BenchSettings, repeats: Repeats, command: str) -> Report:
    """One row a mode, measured once; `repeats` does not matter."""
    modes = GPU_MODES if torch.device(settings.device).type == "cuda" else CPU_MODES
    runs = {name: in_fresh_process(run_mode, mode, settings) for name, mode in modes.items()}
    rows = [_row(name, modes[name], runs) for name in modes]
    return Report(
        name=f"devices-{settings.preset}",
        title=f"{settings.preset}: memory and time of every way to save memory",
        command=command,
        settings=settings,
        rows=rows,
        notes=(
            "One U-Net call and one decoded frame, cold; a video takes one call a step. Needed is "
            "the larger peak of the two, on a CPU with the program itself. The text encoder runs "
            "before them, and is in memory unless weights stream.",
        ),
        chart=Chart("", "MiB needed", {"": [(row["name"], row["needed MiB"]) for row in rows]}),
    )


def _row(name: str, mode: Mode, runs: dict[str, tuple[Peak, Peak]]) -> Row:
    (expected, _), (unet, vae) = runs[EVERYTHING], runs[name]
    equality = Equality.of(EVERYTHING, expected.result, {name: unet.result}, mode.tolerance)
    speedup = Speedup(_timing(EVERYTHING, expected), _timing(name, unet), equality)
    return {
        **speedup.to_dict(),
        "frame": {"seconds": vae.seconds.wall},
        "weights MiB": unet.before / MIB,
        "needed MiB": max(unet.peak, vae.peak) / MIB,
    }


def _timing(name: str, peak: Peak) -> Timing:
    return Timing(name, {TOTAL: peak.seconds})


def run_mode(mode: Mode, settings: BenchSettings) -> tuple[Peak, Peak]:
    """Peaks of one U-Net call and of one decoded frame."""
    on_cpu = replace(settings, device="cpu") if mode.stream == "ram" else settings
    pipe = load_pipeline(replace(on_cpu, dtype=mode.dtype))
    with tempfile.TemporaryDirectory() as folder:
        _save_memory(pipe, mode, settings, Path(folder))
        unet = measure_peak(_unet_call(pipe, settings), settings.device)
        vae = measure_peak(_decode_frame(pipe, settings), settings.device)
    return unet, vae


def _save_memory(
    pipe: HummingbirdPipeline, mode: Mode, settings: BenchSettings, folder: Path
) -> None:
    if mode.storage is not None:
        store_weights(pipe.unet, mode.storage)
    if mode.stream == "disk":
        stream_from_disk(pipe, folder)
    if mode.stream == "ram":
        stream_from_ram(pipe, settings.device)


def _unet_call(pipe: HummingbirdPipeline, settings: BenchSettings) -> Callable[[], Tensor]:
    inputs = unet_inputs(settings, pipe.unet)
    cast: dict[str, Any] = {
        name: value.to(pipe.dtype) if isinstance(value, Tensor) else value
        for name, value in inputs.items()
    }
    return lambda: pipe.unet(**cast)


def _decode_frame(pipe: HummingbirdPipeline, settings: BenchSettings) -> Callable[[], Tensor]:
    latents = random_tensor(settings, settings.latent_shape(1))
    vae: Any = pipe.vae
    return lambda: decode_latents(vae, latents, chunk_frames=1)
