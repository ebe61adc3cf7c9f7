"""`hummingbird bench compile`: speed-up of one U-Net call by torch.compile, and compile time.

The whole U-Net compiles without graph breaks; on a GPU its kernels run as one CUDA graph.
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
from .plain_reference import OURS
from .report import Chart, Report

COMPILED = "ours, compiled"
CALLS = 3  # calls until CUDA graphs are recorded


def report(settings: BenchConfig, repeats: Repeats, command: str) -> Report:
    """Compare the compiled U-Net with the eager one."""
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
    """Return the compiled U-Net after its first calls, and the seconds that they took.

    Raises:
        MissingPackageError: no compiler is installed.
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
