"""Ways to run a model in less memory than its weights take.

    pipe = load_in_less_memory("hummingbird.safetensors", "fp8")

compresses or streams each submodule as soon as it is read, so that the whole model is never in
memory. A pipeline that is loaded already can be reduced in place:

    store_weights(pipe.unet, torch.float8_e4m3fn)     a quarter of float32; rounds the weights
    stream_from_ram(pipe, "cuda")                     small GPU: loads one U-Net layer at a time
    stream_from_disk(pipe, folder)                    little RAM: reads all weights when needed

The hooks are diffusers'. Streaming is slower and gives identical values.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import shutil
import sys
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import torch
from torch import nn

from .checkpoints.load import OnLoaded, load_checkpoint, submodule_names
from .devices import best_device, check_device, default_dtype
from .errors import InputError, MissingPackageError, OutputError, machine_advice
from .files import remove, remove_leftovers, temporary_path, weights_files
from .hub.local import resolve_model
from .pipeline import HummingbirdPipeline
from .reporting import size_text
from .text.encoder import TextEncoder
from .unet.model import HummingbirdUNet

STORAGE = {"bf16": torch.bfloat16, "fp8": torch.float8_e4m3fn}
MEMORY = (*STORAGE, "ram", "disk")
M_MMAP_THRESHOLD = -3  # of glibc's <malloc.h>
# Small, or sensitive to rounding: kept on the device in full precision. The pipeline reads its
# device and dtype from the first.
KEPT = ("time_embed", "fps_embedding", "time_cond_proj", "frame_phase")
ROUNDING_HURTS = (*KEPT, "input_blocks.0", "out")


def load_in_less_memory(
    name_or_path: str | Path,
    memory: str,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    on_loaded: Callable[[HummingbirdUNet, str], None] | None = None,
) -> HummingbirdPipeline:
    """Load a model so that neither loading nor running it needs memory for all its weights.

    Args:
        name_or_path: as for `HummingbirdPipeline.from_pretrained`.
        memory: "bf16" or "fp8": store the U-Net's weights in this type and those of the text
            encoder in bf16, and cast them when used; "ram": stream to a GPU, which holds one layer
            of the U-Net at a time; "disk": on the CPU, read every weight from a temporary file when
            needed, and return freed memory to the system, see `give_back_freed_memory`.
        device: compute device; default: the CPU for "disk", else the best available.
        dtype: compute dtype; default: float16 on a GPU, float32 on a CPU.
        on_loaded: called with the U-Net and the name of each submodule before it is stored or
            streamed: the last chance to merge a LoRA.

    Raises:
        CheckpointError: the model does not exist, or its file is damaged.
        InputError: `memory` is unknown, or saves nothing on this device or in this dtype.
        MissingPackageError: diffusers is too old, or accelerate is missing.
    """
    target = check_memory(memory, device)
    dtype = dtype or default_dtype(target)
    folder = None
    if memory == "disk":
        folder = _folder_on_disk()
        give_back_freed_memory()
    shrink = _shrinker(memory, target, dtype, folder)

    def loaded(model: nn.Module, part: str) -> None:
        if on_loaded and isinstance(model, HummingbirdUNet):
            on_loaded(model, part)
        shrink(model, part)

    home = "cpu" if memory == "ram" else target
    path = resolve_model(name_or_path)
    try:
        checkpoint = load_checkpoint(path, dtype=dtype, device=home, on_loaded=loaded)
    except Exception as error:  # the writer of the files wraps the system's errors in its own
        if folder and machine_advice(error):
            raise OutputError(_no_room(path, folder)) from error
        raise
    pipe = HummingbirdPipeline.from_checkpoint(checkpoint)
    pipe.decode_chunk_size = 1
    if folder:
        weakref.finalize(pipe, remove, folder)
    return pipe


def store_weights(unet: HummingbirdUNet, storage: torch.dtype) -> None:
    """Store the U-Net's large weights in a smaller type; each is cast when it is used.

    On a CPU without bfloat16 arithmetic, `storage=torch.bfloat16` with float32 computing halves
    the memory at full speed. Merge LoRAs first: storing a weight rounds it permanently.

    Args:
        unet: changed in place; its compute dtype stays the same.
        storage: such as torch.float8_e4m3fn or torch.bfloat16.

    Raises:
        InputError: `storage` is not smaller than the U-Net's dtype.
        MissingPackageError: diffusers is too old.
    """
    compute = next(unet.parameters()).dtype
    _check_storage(storage, compute)
    for part in submodule_names(unet):
        _store(unet, part, storage, compute)


def stream_from_ram(pipe: HummingbirdPipeline, device: torch.device | str) -> None:
    """Compute on `device`, which holds one layer of the U-Net at a time.

    The U-Net's weights stay in RAM, the VAE moves to `device`, and the text encoder, which is
    needed once per prompt, stays on the CPU and computes there.

    Args:
        pipe: on the CPU (`from_pretrained(..., device="cpu", dtype=torch.float16)`); changed in
            place.
        device: compute device.

    Raises:
        MissingPackageError: diffusers is too old.
    """
    for part in submodule_names(pipe.unet):
        _stream_to(torch.device(device), pipe.unet, part)
    if pipe.vae is not None:
        pipe.vae.to(device)
    pipe.decode_chunk_size = 1


def stream_from_disk(pipe: HummingbirdPipeline, folder: Path) -> None:
    """Compute on the CPU, reading each layer's weights from a file when they are needed.

    Args:
        pipe: on the CPU; changed in place, and unusable after `folder` is deleted.
        folder: empty, with disk space for all weights.

    Raises:
        InputError: `folder` is not empty: files of another model would be taken for this one's.
        MissingPackageError: diffusers is too old.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise InputError(f"got folder {folder} with files in it, expected an empty one")
    for part in submodule_names(pipe.unet):
        _stream_from(folder, pipe.unet, part)
    for model in (pipe.text_encoder, pipe.vae):
        if model is not None:
            _stream_from(folder, model, "")


def give_back_freed_memory() -> None:
    """Make the process return freed blocks of 1 MiB and more to the system at once.

    Each streamed weight is freed after use. By default glibc keeps such blocks for reuse; with the
    0.7B model this wasted 1.3 GB. Other C libraries are left unchanged.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, 2**20)


def check_memory(memory: str, device: torch.device | str | None) -> torch.device:
    """Return the compute device; raise an error as `load_in_less_memory` does."""
    if memory not in MEMORY:
        raise InputError(f"got memory {memory!r}, expected one of {', '.join(MEMORY)}")
    if device is None:
        target = torch.device("cpu") if memory == "disk" else best_device()
    else:
        target = check_device(device)
    if memory == "ram" and target.type == "cpu":
        raise InputError("got memory 'ram' on a CPU, expected a GPU: try 'fp8' or 'disk'")
    if memory == "disk" and target.type != "cpu":
        raise InputError(f"got memory 'disk' on {target}, expected a CPU: on a GPU, try 'ram'")
    if memory not in STORAGE:
        _check_can_stream()
    return target


def _check_can_stream() -> None:
    try:
        import accelerate  # noqa: F401  # of diffusers' streaming, which would fail by a NameError
    except ImportError as error:
        raise MissingPackageError(
            "streaming weights needs the package accelerate: pip install accelerate"
        ) from error


def _folder_on_disk() -> Path:
    """Make a folder for weights, and remove those that killed processes left.

    Raises:
        OutputError: there is no place for it.
    """
    # /tmp is often in RAM itself; a TMPDIR set by the user takes precedence.
    is_free = "TMPDIR" not in os.environ and os.access("/var/tmp", os.W_OK)
    try:
        place = Path("/var/tmp" if is_free else gettempdir())
        remove_leftovers(place)
        folder = temporary_path(place / "weights")
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise OutputError(f"cannot make a temporary folder ({error}): set TMPDIR") from error
    atexit.register(remove, folder)  # loading may be interrupted
    return folder


def _no_room(checkpoint: Path, folder: Path) -> str:
    size = sum(file.stat().st_size for file in weights_files(checkpoint))
    free = shutil.disk_usage(folder).free
    remove(folder)
    return (
        f"--memory disk writes all weights to {folder.parent}, which has {size_text(free)} free, "
        f"expected up to {size_text(2 * size)} for {checkpoint.name}: free some space, or set "
        "TMPDIR to a folder on a larger disk"
    )


def _shrinker(
    memory: str,
    device: torch.device,
    dtype: torch.dtype,
    folder: Path | None,
) -> OnLoaded:
    """Return the callback that stores or streams each loaded submodule."""
    if folder is not None:
        return partial(_stream_from, folder)
    if memory == "ram":
        return partial(_stream_to, device)
    _check_storage(STORAGE[memory], dtype)
    return lambda model, part: _store(model, part, STORAGE[memory], dtype)


def _check_storage(storage: torch.dtype, compute: torch.dtype) -> None:
    if storage.itemsize >= compute.itemsize:
        raise InputError(
            f"got {storage} to store weights that compute in {compute}, expected a smaller type: "
            "try fp8 (torch.float8_e4m3fn)"
        )


def _store(model: nn.Module, part: str, storage: torch.dtype, compute: torch.dtype) -> None:
    """Store U-Net layers except `ROUNDING_HURTS` in `storage`, the text encoder in bfloat16.

    The VAE is left unchanged.
    """
    is_text = isinstance(model, TextEncoder)
    storage = torch.bfloat16 if is_text else storage
    is_kept = part in ROUNDING_HURTS or storage.itemsize >= compute.itemsize
    if is_kept or not (is_text or isinstance(model, HummingbirdUNet)):
        return
    _hooks().apply_layerwise_casting(
        model.get_submodule(part), storage, compute, skip_modules_pattern=("norm",)
    )


def _stream_to(device: torch.device, model: nn.Module, part: str) -> None:
    """Stream the U-Net's layers to `device` and move the VAE there; leave the text encoder."""
    if isinstance(model, TextEncoder):
        return
    module = model.get_submodule(part)
    if isinstance(model, HummingbirdUNet) and part not in KEPT:
        _stream(module, device, folder=None)
    else:
        module.to(device)


def _stream_from(folder: Path, model: nn.Module, part: str) -> None:
    if part not in KEPT:
        module = model.get_submodule(part)
        _stream(module, torch.device("cpu"), folder / type(model).__name__ / part)


def _stream(module: nn.Module, device: torch.device, folder: Path | None) -> None:
    _check_can_stream()
    _hooks().apply_group_offloading(
        module,
        onload_device=device,
        offload_type="leaf_level",
        offload_to_disk_path=str(folder) if folder else None,
    )


def _hooks() -> Any:
    try:
        from diffusers import hooks
    except ImportError as error:
        raise _too_old() from error
    if not hasattr(hooks, "apply_group_offloading"):
        raise _too_old()
    return hooks


def _too_old() -> MissingPackageError:
    return MissingPackageError(
        "running in less memory needs diffusers 0.35 or newer: pip install -U diffusers"
    )
