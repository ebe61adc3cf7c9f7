"""An animated live preview: the whole video after each step of any sampler.

ComfyUI's own preview is an image of the first frame. This one is sent by a sampling wrapper that
the MODEL carries, so KSampler and all other samplers show it, too.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any

import comfy.latent_formats
import comfy.model_patcher
import torch
from comfy.cli_args import LatentPreviewMethod, args
from comfy.patcher_extension import WrappersMP
from PIL import Image
from torch import Tensor

from .progress import send_event

EVENT = "hummingbird_preview"  # web/hummingbird.js listens to it
FRAME_MILLISECONDS = 125  # independent of the video's frame rate
MAX_FRAMES = 64  # of longer videos every second, third ... frame is shown


def add_moving_preview(model: comfy.model_patcher.ModelPatcher) -> None:
    """Add the preview to every sampler that runs this MODEL or a clone of it."""
    model.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, EVENT, _sample_with_preview)


def _sample_with_preview(
    sample: Callable[..., Tensor],
    guider: Any,
    sigmas: Tensor,
    extra_args: dict[str, Any],
    callback: Callable[..., None] | None,
    *others: Any,
    **named: Any,
) -> Tensor:
    """Call the sampler with a callback that also sends the preview."""
    latent_format = guider.inner_model.latent_format
    if callback is not None and _is_shown(latent_format):
        callback = _with_preview(callback, latent_format)
    return sample(guider, sigmas, extra_args, callback, *others, **named)


def _is_shown(latent_format: comfy.latent_formats.LatentFormat) -> bool:
    """Return whether previews are switched on and the colors of the latents are known."""
    wanted = args.preview_method != LatentPreviewMethod.NoPreviews
    return wanted and latent_format.latent_rgb_factors is not None


def _with_preview(
    callback: Callable[..., None], latent_format: comfy.latent_formats.LatentFormat
) -> Callable[..., None]:
    def send_and_call(step: int, denoised: Tensor, *others: Any) -> None:
        # Ours first: the page then leaves out the still image that ComfyUI sends next.
        _send(preview_frames(denoised, latent_format))
        callback(step, denoised, *others)

    return send_and_call


def preview_frames(latents: Tensor, latent_format: comfy.latent_formats.LatentFormat) -> Tensor:
    """Return the first video of a batch `[B, C, T, h, w]` in rough colors: uint8 `[t, h, w, 3]`."""
    stride = -(-latents.shape[2] // MAX_FRAMES)
    video = latents[0, :, ::stride].movedim(0, -1).float().cpu()  # [C, t, h, w] -> [t, h, w, C]
    pixels = video @ torch.tensor(latent_format.latent_rgb_factors)
    if latent_format.latent_rgb_factors_bias is not None:
        pixels += torch.tensor(latent_format.latent_rgb_factors_bias)
    return ((pixels + 1) * 127.5).clamp(0, 255).to(torch.uint8)


def animated_webp(frames: Tensor) -> bytes:
    """Encode frames, uint8 `[t, h, w, 3]`, as a WebP animation that loops."""
    first, *rest = (Image.fromarray(frame) for frame in frames.numpy())
    file = io.BytesIO()
    timing = {"duration": FRAME_MILLISECONDS, "loop": 0}
    first.save(file, "WEBP", save_all=True, append_images=rest, method=0, **timing)
    return file.getvalue()


def _send(frames: Tensor) -> None:
    picture = base64.b64encode(animated_webp(frames)).decode()
    height, width = frames.shape[1:3]
    send_event(EVENT, {"width": width, "height": height, "webp": picture})
