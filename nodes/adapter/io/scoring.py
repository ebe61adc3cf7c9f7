"""Scores of frames: numbers for other nodes, text and a contact sheet for people."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.model_patcher
import torch
from comfy_api.latest import ui
from torch import Tensor
from torch.nn.functional import interpolate

from ....hummingbird_core.vqa import Score, find_defects, load_dover, score_video
from ..errors import naming
from .files import NO_DOVER, dover_path

SHEET_FRAMES, SHEET_HEIGHT = 6, 96
DOVER_MEMORY = 2**30  # bytes in addition to its weights; a little less was measured on a CPU


def rating(dover: str) -> Callable[[Tensor, float], Score]:
    """Return a function (IMAGE, fps) -> Score; the weights are read once, here."""
    model = None if dover == NO_DOVER else _load(dover_path(dover))

    def rate(images: Tensor, fps: float) -> Score:
        if model:
            comfy.model_management.load_models_gpu([model], memory_required=DOVER_MEMORY)
        frames = images[..., :3].float().cpu()
        return score_video(frames, fps, dover=model and model.model)

    return rate


def _load(path: Path) -> comfy.model_patcher.ModelPatcher:
    """Load DOVER as a patcher, so that ComfyUI manages its memory with that of other models."""
    management = comfy.model_management
    with naming("dover"):
        model = load_dover(path)
    return comfy.model_patcher.ModelPatcher(
        model,
        load_device=management.get_torch_device(),
        offload_device=management.unet_offload_device(),
    )


def number(score: Score, name: str) -> float:
    """Return one measure, NaN if it is absent."""
    value = getattr(score, name)
    return math.nan if value is None else float(value)


def shown_score(score: Score) -> dict[str, Any]:
    """Return the finite measures and the defects for the front end; JSON has no NaN."""
    finite = {name: value for name, value in score.to_dict().items() if math.isfinite(value)}
    # The front end reads the key "faults" and has a text `fault_NAME` for each defect.
    return {"measures": finite, "faults": find_defects(score)}


def describe_score(score: Score) -> str:
    """Return a text of all measures, one per line, and the defects."""
    shown = shown_score(score)
    lines = [f"{name}: {value:.4g}" for name, value in shown["measures"].items()]
    if score.overall is None:
        lines.append("technical, aesthetic, overall: not computed without DOVER's weights")
    lines.append(f"defects: {', '.join(shown['faults']) or 'none'}")
    return "\n".join(lines)


def contact_sheet(rows: Sequence[Tensor]) -> dict[str, Any]:
    """Return the `ui` value that shows rows `[h, w, 3]` below each other on the node."""
    return ui.PreviewImage(torch.cat(list(rows))[None]).as_dict()


def sheet_row(images: Tensor) -> Tensor:
    """Put evenly chosen frames side by side: `[N, H, W, 3]` -> `[SHEET_HEIGHT, width, 3]`."""
    chosen = torch.linspace(0, len(images) - 1, SHEET_FRAMES).round().long()
    frames = images[chosen, ..., :3].float().cpu().movedim(-1, 1)
    small = interpolate(frames, scale_factor=SHEET_HEIGHT / images.shape[1], mode="area")
    # [n, 3, h, w] -> [h, n * w, 3]
    return small.permute(2, 0, 3, 1).flatten(1, 2)
