"""Ways to run a model in less memory than its weights take.

    store_weights(pipe.unet, torch.float8_e4m3fn)     a quarter of float32; rounds the weights
    stream_from_ram(pipe, "cuda")                     a small GPU: U-Net blocks come one by one
    stream_from_disk(pipe, folder)                    little RAM: so do the weights of all models

The hooks are diffusers'. What streams gives the same values as before; it only takes longer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from .errors import InputError, MissingPackageError
from .pipeline import HummingbirdPipeline
from .unet import HummingbirdUNet

# Small, or sensitive to rounding; the first of them tells the pipeline its device and dtype.
KEPT = ("time_embed", "fps_embedding", "time_cond_proj", "frame_phase")
ROUNDING_HURTS = (*KEPT, r"norm", r"^input_blocks\.0\.", r"^out\.")
STREAMED = ("input_blocks", "init_attn", "middle_block", "output_blocks", "out")


def store_weights(
    unet: HummingbirdUNet, storage: torch.dtype, compute: torch.dtype | None = None
) -> None:
    """Keeps the U-Net's large weights in a smaller type; each is cast when it is used.

    On a CPU without bfloat16 arithmetic, `storage=torch.bfloat16` with float32 computing halves
    the memory at full speed. Merge LoRAs before: a stored weight is rounded for good.

    Args:
        unet: changed in place.
        storage: such as torch.float8_e4m3fn or torch.bfloat16.
        compute: what layers calculate in; default: the dtype the U-Net has.

    Raises:
        InputError: `storage` is not smaller than `compute`.
        MissingPackageError: diffusers is too old.
    """
    compute = compute or next(unet.parameters()).dtype
    if storage.itemsize >= compute.itemsize:
        raise InputError(
            f"got {storage} to store weights that compute in {compute}, expected a smaller type: "
            "try torch.float8_e4m3fn"
        )
    _hooks().apply_layerwise_casting(
        unet, storage_dtype=storage, compute_dtype=compute, skip_modules_pattern=ROUNDING_HURTS
    )


def stream_from_ram(pipe: HummingbirdPipeline, device: torch.device | str) -> None:
    """Computes on `device`, which holds one layer of the U-Net at a time.

    The U-Net's weights wait in RAM, the VAE moves to `device`, and the text encoder, which is
    needed once a prompt, stays on the CPU and computes there.

    Args:
        pipe: on the CPU; changed in place.
        device: where to compute.

    Raises:
        MissingPackageError: diffusers is too old.
    """
    _stream_unet(pipe.unet, device, folder=None)
    if pipe.vae is not None:
        pipe.vae.to(device)


def stream_from_disk(pipe: HummingbirdPipeline, folder: Path) -> None:
    """Computes on the CPU, with each layer's weights read from a file when they are needed.

    Args:
        pipe: on the CPU; changed in place, and of no use once `folder` is gone.
        folder: an empty one, with room for all weights.

    Raises:
        InputError: `folder` is not empty: files of another model would be taken for this one's.
        MissingPackageError: diffusers is too old.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise InputError(f"got folder {folder} with files in it, expected an empty one")
    _stream_unet(pipe.unet, "cpu", folder / "unet")
    for name, model in (("text", pipe.text_encoder), ("vae", pipe.vae)):
        if model is not None:
            _stream(model, "cpu", folder / name)


def _stream_unet(unet: HummingbirdUNet, device: torch.device | str, folder: Path | None) -> None:
    for name in KEPT:
        if hasattr(unet, name):
            getattr(unet, name).to(device)
    for name in STREAMED:
        part = getattr(unet, name, None)
        if part is not None:
            _stream(part, device, folder / name if folder else None)


def _stream(module: nn.Module, device: torch.device | str, folder: Path | None) -> None:
    _hooks().apply_group_offloading(
        module,
        onload_device=torch.device(device),
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
