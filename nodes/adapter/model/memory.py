"""Estimates of memory, so that a video that cannot fit ends with one line and not with the server.

The estimates are lower bounds: only what exceeds the whole memory of the computer is refused.
"""

from __future__ import annotations

from typing import Any

import comfy.model_management
import comfy.model_patcher
import torch

from ....hummingbird_core.errors import InputError
from ....hummingbird_core.reporting import size_text
from ....hummingbird_core.settings import SIZE_MULTIPLE

# Copies of the latents while sampling: noise, start, the sampler's two, and the prediction.
LATENT_COPIES = 5
# Bytes of features for a latent pixel, per byte of an element and channel of the first level: on a
# CPU, which holds the fewest, tensors alone take a little more (tests/comfy).
BYTES_PER_PIXEL = 16
BYTES = 4  # of float32

Shape = tuple[int, ...]  # of latents [B, C, T, h, w]


def check_memory(
    model: comfy.model_patcher.ModelPatcher, shape: Shape, model_options: dict[str, Any]
) -> None:
    """Check that latents of a shape, and the features of one video of them, fit the device.

    Raises:
        InputError: they need more than all of its memory.
    """
    _, _, frames, height, width = shape
    # Context windows go through the U-Net one at a time.
    handler = model_options.get("context_handler")
    at_once = min(frames, getattr(handler, "context_length", frames))
    unet = model.model
    dtype = unet.manual_cast_dtype or unet.get_dtype()
    channels = unet.diffusion_model.config.model_channels
    features = at_once * height * width * dtype.itemsize * channels * BYTES_PER_PIXEL
    _check("sampling", _latent_bytes(shape) + features, model.load_device, shape)


def check_latents(shape: Shape) -> None:
    """Check that latents of a shape fit into the computer's memory.

    Raises:
        InputError: they don't.
    """
    _check("its latents", _latent_bytes(shape), torch.device("cpu"), shape)


def check_frames(shape: Shape) -> None:
    """Check that the decoded frames of latents of a shape fit into the computer's memory.

    Raises:
        InputError: they don't.
    """
    videos, _, frames, height, width = shape
    pixels = videos * frames * height * width * SIZE_MULTIPLE**2
    _check("its frames", 3 * BYTES * pixels, torch.device("cpu"), shape)


def _latent_bytes(shape: Shape) -> int:
    return LATENT_COPIES * BYTES * torch.Size(shape).numel()


def _check(purpose: str, needed: float, device: torch.device, shape: Shape) -> None:
    total = comfy.model_management.get_total_memory(device)
    if needed <= total:
        return
    videos, _, frames, height, width = shape
    size = f"{width * SIZE_MULTIPLE}x{height * SIZE_MULTIPLE} with {frames} frames"
    raise InputError(
        f"inputs width, height and frames: got {videos} video(s) of {size}, for which {purpose} "
        f"needs {size_text(needed)}, expected at most {size_text(total)}, all that this "
        f"{device.type} has: choose fewer or smaller frames"
    )
