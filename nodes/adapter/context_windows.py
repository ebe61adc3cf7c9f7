"""Long videos: the windows of the core, put where ComfyUI has its own context windows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.context_windows
import comfy.model_base
import comfy.model_patcher
import torch
from torch import Tensor

from ...hummingbird_core.sampling.context_windows import (
    ContextWindows,
    blend_windows,
    predict_overview,
)

FRAME_AXIS = 2  # of latents [B, 4, T, h, w]


class FrameWindows(comfy.context_windows.ContextHandlerABC):
    """Cuts and blends as the plain pipeline does, so that a seed means the same long video there.

    ComfyUI's own handler has neither an overview nor evenly spread windows, takes a single video at
    a time where frames are not the first axis, and gives windows one frame more in some releases.

    Args:
        windows: shorter than the video.
    """

    def __init__(self, windows: ContextWindows):
        self.windows = windows
        self.context_length = windows.length  # for ComfyUI's estimate of memory, as is `dim`
        self.dim = FRAME_AXIS

    def should_use_context(
        self,
        model: comfy.model_base.BaseModel,
        conds: list[Any],
        x_in: Tensor,
        timestep: Tensor,
        model_options: dict[str, Any],
    ) -> bool:
        return self.windows.are_needed(x_in.shape[FRAME_AXIS])

    def get_resized_cond(self, cond_in: list[Any], *_: Any) -> list[Any]:
        """Text, frame rate and guidance hold for every window."""
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
        """Denoised latents for each entry of `conds`, each like `x_in`; `timestep` holds sigmas."""

        def predict(part: Tensor) -> Tensor:
            return torch.stack(calc_cond_batch(model, conds, part, timestep, model_options))

        t = int(model.model_sampling.timestep(timestep)[0])
        is_overview = self.windows.is_overview(t)
        fused = (predict_overview if is_overview else blend_windows)(predict, x_in, self.windows)
        return list(fused)  # [conds, B, 4, T, h, w]


def with_windows(
    model: comfy.model_patcher.ModelPatcher, windows: ContextWindows
) -> comfy.model_patcher.ModelPatcher:
    """The MODEL with context windows, as ComfyUI's own node adds them."""
    model = model.clone()
    model.model_options["context_handler"] = FrameWindows(windows)
    comfy.context_windows.create_prepare_sampling_wrapper(model)
    return model


def has_windows(model: comfy.model_patcher.ModelPatcher) -> bool:
    """Whether a node such as Context Windows (Manual) was put on the MODEL."""
    return "context_handler" in model.model_options
