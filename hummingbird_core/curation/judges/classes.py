"""The probability that a clip is not safe for work, by an image classifier of transformers.

Worked example (Falconsai's ViT, Apache 2.0; `hf download Falconsai/nsfw_image_detection`):

    hummingbird curate videos -o curated --max nsfw=0.5
        --judge hummingbird_core.curation.judges.classes:nsfw=Falconsai/nsfw_image_detection
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch

from ...agreement.base import spread_frames
from ...devices import best_device
from ...errors import CheckpointError
from ...hub.local import from_pretrained_offline
from .objects import Judge

KIND = "image classifier"
UNSAFE = ("nsfw", "unsafe", "porn", "hentai", "sexy", "explicit")  # labels, whole or in parts


def nsfw(model: str) -> Judge:
    """Return the judge of `nsfw`, the highest probability of an unsafe label in a frame.

    Raises:
        CheckpointError: the model is not on this computer, or has no such label.
    """
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    loaded = from_pretrained_offline(
        AutoModelForImageClassification, model, KIND, use_safetensors=True
    )
    labels = {int(index): str(label).lower() for index, label in loaded.config.id2label.items()}
    unsafe = [index for index, label in labels.items() if any(word in label for word in UNSAFE)]
    if not unsafe:
        raise CheckpointError(
            f"got {model} with the labels {', '.join(labels.values())}, expected one of "
            f"{', '.join(UNSAFE)}: choose another {KIND}"
        )
    processor = from_pretrained_offline(AutoImageProcessor, model, KIND)
    return partial(
        _unsafe, model=loaded.eval().to(best_device()), processor=processor, labels=unsafe
    )


@torch.no_grad()
def _unsafe(
    frames: np.ndarray, fps: float, caption: str, *, model: Any, processor: Any, labels: list[int]
) -> dict[str, float]:
    inputs = processor(list(frames[spread_frames(len(frames))]), return_tensors="pt")
    shares = model(**inputs.to(model.device)).logits.softmax(dim=-1)  # [K, labels]
    return {"nsfw": float(shares[:, labels].sum(dim=-1).max())}
