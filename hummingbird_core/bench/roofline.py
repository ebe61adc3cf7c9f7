"""Arithmetic of a computation against the largest rate that this machine reaches in products.

The peak is that of a matrix product (GEMM) large enough to hide all else, measured in the same run.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from .measure import TOTAL, Stopwatch

GEMM_SIDE = 2048  # rows and columns of the factors
GIGA = 1e9


@torch.inference_mode()
def gemm_peak(dtype: torch.dtype, device: str = "cpu", seconds: float = 0.5) -> float:
    """Return the GFLOP/s of the fastest of several products of two square matrices.

    Args:
        dtype: of the factors.
        device: torch device.
        seconds: shortest time to spend; at least three products are computed.
    """
    generator = torch.Generator().manual_seed(0)
    factor = torch.randn(GEMM_SIDE, GEMM_SIDE, generator=generator).to(device, dtype)
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - start < seconds:
        watch = Stopwatch(device)
        with watch.part(TOTAL):
            torch.mm(factor, factor)
        times.append(watch.parts[TOTAL].wall)
    return 2 * GEMM_SIDE**3 / min(times) / GIGA


@torch.no_grad()  # in inference mode, PyTorch 2.4 counts nothing
def count_gflop(compute: Callable[[], Tensor]) -> float:
    """Return the GFLOP of the products and convolutions that `compute` calls in PyTorch."""
    with FlopCounterMode(display=False) as counter:
        compute()
    return counter.get_total_flops() / GIGA
