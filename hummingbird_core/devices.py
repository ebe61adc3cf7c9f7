"""Devices, default precisions, and memory that is free but held."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .errors import InputError

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}  # by short name


def best_device() -> torch.device:
    """Return CUDA or ROCm if available, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, as named in CUDA_VISIBLE_DEVICES."""
    return gpu_names(torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES"))


def gpu_names(count: int, named: str | None) -> list[str]:
    """Return the names of `count` GPUs, from a value of CUDA_VISIBLE_DEVICES if given."""
    return named.split(",")[:count] if named else [str(index) for index in range(count)]


def check_device(name: torch.device | str) -> torch.device:
    """Return the device called `name` after allocating a tensor on it.

    Raises:
        InputError: the device is not available.
    """
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"got device {str(name)!r}, expected an available one, such as 'cpu': "
            "see `hummingbird doctor`"
        ) from error


def short_name(dtype: torch.dtype) -> str:
    """Return the key of `dtype` in DTYPES."""
    return next(name for name, known in DTYPES.items() if known == dtype)


def default_dtype(device: torch.device) -> torch.dtype:
    """Return float16 for an accelerator, as the released models use; float32 for a CPU."""
    return torch.float32 if device.type == "cpu" else torch.float16


def trim_memory() -> None:
    """Return freed memory to the system after work on the CPU.

    glibc keeps the gaps between blocks in use. Work of changing sizes leaves ever other gaps: 300
    videos of different sizes grew a process by 390 MiB, of which 340 were such gaps. Other C
    libraries are left unchanged.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit torch to one thread: workers share the cores, and sums are equal on all machines."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
