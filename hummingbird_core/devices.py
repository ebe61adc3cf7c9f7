"""Where to compute, and in which precision."""

from __future__ import annotations

import os

import torch

from .errors import InputError

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}  # by short name


def best_device() -> torch.device:
    """CUDA or ROCm, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    return gpu_names(torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES"))


def gpu_names(count: int, named: str | None) -> list[str]:
    """Names of `count` GPUs, from the value of CUDA_VISIBLE_DEVICES if there is one."""
    return named.split(",")[:count] if named else [str(index) for index in range(count)]


def check_device(name: torch.device | str) -> torch.device:
    """The device called `name`, if tensors can be put there.

    Raises:
        InputError: there is no such device.
    """
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"got device {str(name)!r}, expected one that is here, such as 'cpu': "
            "see `hummingbird doctor`"
        ) from error


def short_name(dtype: torch.dtype) -> str:
    """The key of `dtype` in DTYPES."""
    return next(name for name, known in DTYPES.items() if known == dtype)


def default_dtype(device: torch.device) -> torch.dtype:
    """float16 on an accelerator, as the released models are run; float32 on a CPU."""
    return torch.float32 if device.type == "cpu" else torch.float16
