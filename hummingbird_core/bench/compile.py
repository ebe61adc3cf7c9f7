"""`hummingbird bench compile`: what torch.compile gains on one U-Net call, and how long it takes.

The whole U-Net without graph breaks; on a GPU its kernels are launched as one CUDA graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..errors import MissingPackageError, first_line
from ..unet.model import HummingbirdUNet
from .measure import TOTAL, Repeats, Stopwatch, Variant, is_out_of_memory, measure_variants
from .models import BenchConfig, load_unet, unet_inputs
from .report import Chart, Report

OURS, COMPILED = "ours", "ours, compiled"
CALLS = 3  # until CUDA graphs are recorded


def report(settings: BenchConfig, repeats: Repeats, command: str) -> Report:
    """The compiled U-Net against itself as it is."""
    unet = load_unet(settings)
    inputs = unet_inputs(settings, unet)
    compiled, seconds = compile_unet(unet, inputs, settings.device)
    ways = [
        Variant(OURS, lambda watch: unet(**inputs)),
        Variant(COMPILED, lambda watch: compiled(**inputs)),
    ]
    measured = measure_variants(ways, repeats, settings.device)
    rows = [measured.row(way.name, OURS, tolerance=settings.tolerance) for way in ways]
    rows[1]["compiling"] = {"seconds": seconds}
    return Report(
        name=settings.file_name("compile"),
        title=f"{settings.preset}: the U-Net compiled, {settings.dtype}",
        command=command,
        settings=settings,
        rows=rows,
        notes=(
            "Compiling happens once a process and size of video: those seconds are not in the "
            "others, and are fewer where PyTorch's cache has kernels from an earlier run.",
        ),
        chart=Chart.bars("seconds of a U-Net call", rows, "wall", "seconds"),
    )


@torch.inference_mode()
def compile_unet(
    unet: HummingbirdUNet, inputs: dict[str, Any], device: str
) -> tuple[Callable[..., Tensor], float]:
    """The compiled U-Net, ready to be measured, and the seconds that took.

    Raises:
        MissingPackageError: there is no compiler.
    """
    on_gpu = torch.device(device).type == "cuda"
    compiled = torch.compile(unet, fullgraph=True, mode="reduce-overhead" if on_gpu else None)
    watch = Stopwatch(device)
    try:
        with watch.part(TOTAL):
            for _ in range(CALLS if on_gpu else 1):
                compiled(**inputs)
    except RuntimeError as error:  # what torch raises for this has no public class
        if is_out_of_memory(error):
            raise
        raise MissingPackageError(
            f"torch.compile failed: {first_line(error)}; it needs a C++ compiler such as g++, for "
            "a GPU Triton"
        ) from error
    return compiled, watch.parts[TOTAL].wall
