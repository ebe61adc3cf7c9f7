"""Long videos: the core's context windows as a ComfyUI context handler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.context_windows
import comfy.model_base
import comfy.model_patcher
import torch
from torch import Tensor

from ....hummingbird_core.sampling.clip_frames import ClipFrames
from ....hummingbird_core.sampling.context_windows import (
    ContextWindows,
    blend_windows,
    predict_keyframes,
)
from ..model.timeline import CLIP_KEY

FRAME_AXIS = 2  # of latents [B, 4, T, h, w]


class FrameWindows(comfy.context_windows.ContextHandlerABC):
    """Handler that cuts and blends as the pipeline does: a seed gives the same long video in both.

    ComfyUI's own handler has neither a keyframe pass nor evenly spread windows, takes one video at
    a time if frames are not the first axis, and in some releases adds a frame to windows.

    Args:
        windows: shorter than the video.
    """

    def __init__(self, windows: ContextWindows):
        self.windows = windows
        self.context_length = windows.length  # ComfyUI's memory estimate reads this and `dim`
        self.dim = FRAME_AXIS
        self.closed_loop = windows.loop  # as ComfyUI's handler calls it

    def should_use_context(
        self,
        model: comfy.model_base.BaseModel,
        conds: list[Any],
        x_in: Tensor,
        timestep: Tensor,
        model_options: dict[str, Any],
    ) -> bool:
        """Return whether the video is longer than a window."""
        return self.windows.are_needed(x_in.shape[FRAME_AXIS])

    def get_resized_cond(self, cond_in: list[Any], *_: Any) -> list[Any]:
        """Return the conditions unchanged: text, frame rate and guidance hold for every window."""
        return cond_in

    def execute(
        self,
        calc_cond_batch: Callable[..., list[Tensor]],
        model: comfy.model_base.BaseModel,
        conds: list[Any],
        x_in: Tensor,
        timestep: Tensor,
        model_options: dict[str, Any],
    ) -> list[Tensor]:
        """Return denoised latents like `x_in` for each of `conds`; `timestep` holds sigmas."""

        def predict(part: Tensor, clip: ClipFrames) -> Tensor:
            transformer_options = {**model_options["transformer_options"], CLIP_KEY: clip}
            options = {**model_options, "transformer_options": transformer_options}
            return torch.stack(calc_cond_batch(model, conds, part, timestep, options))

        t = int(model.model_sampling.timestep(timestep)[0])
        is_keyframe_pass = self.windows.is_keyframe_pass(t)
        fused = (predict_keyframes if is_keyframe_pass else blend_windows)(
            predict, x_in, self.windows
        )
        return list(fused)  # [conds, B, 4, T, h, w]


def with_windows(
    model: comfy.model_patcher.ModelPatcher, windows: ContextWindows
) -> comfy.model_patcher.ModelPatcher:
    """Return a clone of the MODEL with context windows, added as ComfyUI's own node does it."""
    model = model.clone()
    model.model_options["context_handler"] = FrameWindows(windows)
    comfy.context_windows.create_prepare_sampling_wrapper(model)
    return model


def has_windows(model: comfy.model_patcher.ModelPatcher) -> bool:
    """Return whether the MODEL already has context windows, such as Context Windows (Manual)."""
    return "context_handler" in model.model_options
