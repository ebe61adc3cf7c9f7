"""Areas of burnt-in text and of faces, by a zero-shot object detector of transformers.

Worked example, with OWLv2 (Apache 2.0; `hf download google/owlv2-base-patch16-ensemble`):

    hummingbird curate videos -o curated --max text_area=0.02
        --judge hummingbird_core.curation.judges.objects:text=google/owlv2-base-patch16-ensemble
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from ...agreement.base import spread_frames
from ...devices import best_device
from ...errors import CheckpointError
from ...hub.local import from_pretrained_offline

KIND = "object detector"
TEXT = ("text", "a subtitle", "a watermark")
FACE = ("a human face",)
THRESHOLD = 0.2  # score of a box that counts
FRAMES = 4  # of a clip
GRID = 64  # cells along a side, in which areas are counted

Judge = Callable[[np.ndarray, float, str], dict[str, float]]


def text(model: str) -> Judge:
    """Return the judge of `text_area`, the largest share of a frame with letters in it."""
    return partial(_areas, detector=_load(model), queries=TEXT, column="text_area")


def faces(model: str) -> Judge:
    """Return the judge of `face_area`, the largest share of a frame with faces in it."""
    return partial(_areas, detector=_load(model), queries=FACE, column="face_area")


def _load(name: str) -> tuple[Any, Any]:
    from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

    model = from_pretrained_offline(
        AutoModelForZeroShotObjectDetection, name, KIND, use_safetensors=True
    )
    return model.eval().to(best_device()), from_pretrained_offline(AutoProcessor, name, KIND)


def _areas(
    frames: np.ndarray,
    fps: float,
    caption: str,
    *,
    detector: tuple[Any, Any],
    queries: Sequence[str],
    column: str,
) -> dict[str, float]:
    chosen = frames[spread_frames(len(frames), FRAMES)]
    return {column: max(_share(frame, detector, queries) for frame in chosen)}


@torch.no_grad()
def _share(frame: np.ndarray, detector: tuple[Any, Any], queries: Sequence[str]) -> float:
    """Return the share of a frame in the boxes of a detector."""
    model, processor = detector
    height, width = frame.shape[:2]
    side = max(height, width)
    square = np.zeros((side, side, 3), np.uint8)  # boxes of all models are then shares of its side
    square[:height, :width] = frame
    inputs = processor(text=[list(queries)], images=square, return_tensors="pt")
    output = model(**inputs.to(model.device))
    if output.logits.ndim != 3 or output.pred_boxes.shape[-1] != 4:
        raise CheckpointError(f"got another output than boxes from the {KIND}: choose another")
    scores = output.logits[0].sigmoid().amax(dim=-1).cpu().numpy()  # [N]
    boxes = output.pred_boxes[0].cpu().numpy()[scores >= THRESHOLD]  # x, y of the middle, w, h
    return covered(boxes, height / side, width / side)


def covered(boxes: np.ndarray, height: float, width: float) -> float:
    """Return the share of a picture that lies in boxes.

    Args:
        boxes: `[N, 4]`, x and y of the middle, width and height, as shares of a square's side.
        height, width: of the picture in the upper left of the square, as shares of its side.
    """
    x, y = (np.arange(GRID) + 0.5) / GRID * width, (np.arange(GRID) + 0.5) / GRID * height
    is_covered = np.zeros((GRID, GRID), dtype=bool)
    for middle_x, middle_y, box_width, box_height in boxes:
        columns = np.abs(x - middle_x) <= box_width / 2
        rows = np.abs(y - middle_y) <= box_height / 2
        is_covered |= rows[:, None] & columns
    return float(is_covered.mean())
