"""Diagnose this machine: hardware, packages, and the models that fit in memory.

All values are measured, except for the working memory of a run, which is an estimate.
"""

from __future__ import annotations

import platform
import sys
import warnings
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psutil
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from . import __version__
from .devices import best_device, default_dtype
from .hub.local import resolve_model
from .reporting import size_text
from .video.ffmpeg import too_old

REQUIRED = (
    *("torch", "numpy", "einops", "safetensors", "transformers", "diffusers", "huggingface_hub"),
    *("imageio-ffmpeg", "pillow", "ftfy", "tqdm"),
)
OPTIONAL = ("peft", "accelerate", "pyarrow", "matplotlib")

# Parameters of the U-Net; each model also needs the text encoder and the VAE.
UNET_PARAMETERS = {
    "hummingbird-0.7b": 772_091_780,
    "hummingbird-0.9b": 945_209_220,
    "videocrafter2": 1_413_284_420,
}
TEXT_PARAMETERS, VAE_PARAMETERS = 354_032_641, 83_653_863
# Memory of a run in addition to the weights, at 320x512, 16 frames: a conservative estimate.
WORKING_MEMORY = 3 * 2**30
# The same with --memory, which decodes one frame at a time; 0.9 GiB was measured on a CPU.
LESS_WORKING_MEMORY = 3 * 2**29


def diagnose(required: Sequence[str] = REQUIRED) -> dict[str, Any]:
    """Return all findings as plain data for JSON, sizes in bytes; missing parts never raise.

    `required` names the packages whose absence is a problem.

    Keys: hummingbird, python, system, packages, device, dtype, attention, acceleration, memory,
    ffmpeg, built_in_model, models, problems.
    """
    device = best_device()
    memory = _memory(device)
    packages = {name: _version(name) for name in REQUIRED + OPTIONAL}
    ffmpeg = _ffmpeg()
    built_in = resolve_model("nano")
    return {
        "hummingbird": __version__,
        "python": sys.version.split()[0],
        "system": platform.platform(),
        "packages": packages,
        "device": {"type": device.type, "name": _device_name(device)},
        "dtype": str(default_dtype(device)).removeprefix("torch."),
        "attention": attention_kernels(device),
        "acceleration": _acceleration(),
        "memory": memory,
        "ffmpeg": ffmpeg,
        "built_in_model": built_in.is_file(),
        "models": {name: _fit(count, device, memory) for name, count in UNET_PARAMETERS.items()},
        "problems": _problems(packages, ffmpeg, built_in.is_file(), required),
    }


def for_people(found: dict[str, Any]) -> dict[str, Any]:
    """Return the report of `diagnose` with sizes in GiB and a sentence per model."""
    memory = {name: size_text(size) for name, size in found["memory"].items()}
    models = {name: _verdict(fit) for name, fit in found["models"].items()}
    return {**found, "memory": memory, "models": models}


def attention_kernels(device: torch.device) -> list[str]:
    """Return the kernels of scaled_dot_product_attention that run here, by trying each."""
    q = torch.zeros(1, 1, 16, 64, device=device, dtype=default_dtype(device))
    names = ("FLASH_ATTENTION", "EFFICIENT_ATTENTION", "CUDNN_ATTENTION", "MATH")
    return [name.lower() for name in names if _runs(getattr(SDPBackend, name, None), q)]


def _runs(backend: SDPBackend | None, q: torch.Tensor) -> bool:
    if backend is None:  # older torch
        return False
    try:
        with warnings.catch_warnings(), sdpa_kernel(backend):
            warnings.simplefilter("ignore")  # torch explains at length why a kernel is unavailable
            scaled_dot_product_attention(q, q, q)
    except RuntimeError:
        return False
    return True


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine()


def _acceleration() -> dict[str, Any]:
    """Return the versions of the vendor libraries that this torch was built with and can use."""
    return {
        "cuda": torch.version.cuda,
        "rocm": torch.version.hip,
        # Under ROCm torch reports MIOpen through its cuDNN interface.
        "miopen" if torch.version.hip else "cudnn": torch.backends.cudnn.version(),
        "cpu_threads": torch.get_num_threads(),
    }


def _memory(device: torch.device) -> dict[str, int]:
    ram = psutil.virtual_memory()
    memory = {"ram_total": ram.total, "ram_free": ram.available}
    if device.type == "cuda":
        memory["gpu_free"], memory["gpu_total"] = torch.cuda.mem_get_info(device)
    return memory


def _version(package: str) -> str | None:
    if package == "torch":
        return torch.__version__  # with its build (+cu128), which the metadata may leave out
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _ffmpeg() -> str | None:
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_version()
    except (ImportError, OSError, RuntimeError):
        return None


def _fit(unet_parameters: int, device: torch.device, memory: dict[str, int]) -> dict[str, Any]:
    parameters = unet_parameters + TEXT_PARAMETERS + VAE_PARAMETERS
    weights = parameters * default_dtype(device).itemsize
    free = memory.get("gpu_free", memory["ram_free"])
    needed = weights + WORKING_MEMORY
    return {
        "weights": weights,
        "needed": needed,
        "free": free,
        "memory": None if free >= needed else _memory_that_fits(unet_parameters, device, free),
    }


def _memory_that_fits(unet: int, device: torch.device, free: int) -> str | None:
    """Return the fastest value of --memory with which the model fits, or None."""
    if device.type == "cpu":
        rest = 2 * TEXT_PARAMETERS + 4 * VAE_PARAMETERS
        weights = {"bf16": 2 * unet + rest, "fp8": unet + rest, "disk": 0}
    else:
        rest = 2 * (TEXT_PARAMETERS + VAE_PARAMETERS)
        weights = {"fp8": unet + rest, "ram": 2 * VAE_PARAMETERS}
    return next((m for m, size in weights.items() if size + LESS_WORKING_MEMORY <= free), None)


def _verdict(fit: dict[str, Any]) -> str:
    fits = fit["free"] >= fit["needed"]
    less = f"fits with --memory {fit['memory']}" if fit["memory"] else None
    word = "fits" if fits else less or "too large for the free memory"
    return f"{word} (weights {size_text(fit['weights'])}, about {size_text(fit['needed'])} in all)"


def _problems(
    packages: dict[str, str | None],
    ffmpeg: str | None,
    built_in: bool,
    required: Sequence[str] = REQUIRED,
) -> list[str]:
    missing = [name for name in required if packages[name] is None]
    problems = [f"{name} is missing: pip install {name}" for name in missing]
    if ffmpeg is None and "imageio-ffmpeg" in required and "imageio-ffmpeg" not in missing:
        problems.append("imageio-ffmpeg found no ffmpeg: reinstall it, or install ffmpeg")
    elif ffmpeg and (version := too_old()):
        problems.append(f"ffmpeg {version} is too old: pip install -U imageio-ffmpeg")
    if not built_in:
        problems.append("the built-in model is missing from the package: reinstall it")
    return problems
