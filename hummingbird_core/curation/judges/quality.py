"""Learned quality: a video network with one output, or the answer of a vision-language model.

A network of FAST-VQA's class is any video classifier of transformers with a single label, such as
a Video Swin or VideoMAE fine-tuned on opinions. Worked examples, the second with Qwen2.5-VL
(Apache 2.0 in its 7B size; `ollama pull qwen2.5vl`):

    hummingbird curate videos -o curated --min quality=q0.2
        --judge hummingbird_core.curation.judges.quality:network=my-quality-model
    hummingbird curate videos -o curated --min judged=6
        --judge hummingbird_core.curation.judges.quality:language=server:qwen2.5vl
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import numpy as np
import torch

from ...agreement.base import spread_frames
from ...devices import best_device
from ...errors import CheckpointError, HummingbirdError
from ...hub.local import from_pretrained_offline
from ...prompts.captioner import Captioner, frames_for, open_captioner
from .objects import Judge

KIND = "video network"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's colors
MARKS = (1, 10)  # of a language model
SYSTEM = (
    "You judge clips from which a text-to-video model learns. You see frames of one clip, in "
    "order. Mark from 1 to 10 how good the clip is: sharp, without compression, text or logos, "
    "with steady motion, and showing what its caption says. Answer with the number alone."
)
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def network(model: str) -> Judge:
    """Return the judge of `quality`, the single output of a video network.

    Raises:
        CheckpointError: the model is not on this computer, or has several outputs.
    """
    from transformers import AutoModelForVideoClassification

    loaded = from_pretrained_offline(
        AutoModelForVideoClassification, model, KIND, use_safetensors=True
    )
    if loaded.config.num_labels != 1:
        raise CheckpointError(
            f"got {model} with {loaded.config.num_labels} outputs, expected a {KIND} with one, "
            "the quality: choose another"
        )
    return partial(_quality, model=loaded.eval().to(best_device()))


@torch.no_grad()
def _quality(frames: np.ndarray, fps: float, caption: str, *, model: Any) -> dict[str, float]:
    from PIL import Image

    count, side = model.config.num_frames, model.config.image_size
    chosen = np.linspace(0, len(frames) - 1, count).round().astype(int)  # short clips repeat some
    images = [np.asarray(Image.fromarray(frames[n]).resize((side, side))) for n in chosen]
    pixels = (np.stack(images).astype(np.float32) / 255 - MEAN) / STD  # [K, H, W, 3]
    video = torch.from_numpy(pixels).permute(0, 3, 1, 2)[None]  # [1, K, 3, H, W]
    output = model(pixel_values=video.to(model.device, model.dtype))
    return {"quality": float(output.logits[0, 0])}


def language(model: str) -> Judge:
    """Return the judge of `judged`, a language model's mark from 1 to 10.

    Args:
        model: "local:FOLDER", "server:NAME", or `MODULE:FUNCTION` of frames that returns the mark.
    """
    source, _, name = model.partition(":")
    is_door = source in ("local", "server")
    captioner = open_captioner(source, name) if is_door else open_captioner(model, None)
    return partial(judged, captioner=captioner)


def judged(
    frames: np.ndarray, fps: float, caption: str, *, captioner: Captioner
) -> dict[str, float]:
    """Return {"judged": mark} of a clip.

    Raises:
        HummingbirdError: the answer holds no mark.
    """
    chosen = frames_for(frames[spread_frames(len(frames))])
    question = f"The caption is: {caption}" if caption else "The clip has no caption."
    answer = str(captioner.describe(chosen, SYSTEM, question, 0))
    marks = [float(number) for number in _NUMBER.findall(answer)]
    if not marks or not MARKS[0] <= marks[0] <= MARKS[1]:
        raise HummingbirdError(
            f"got {answer.strip()[:40]!r} from the judge, expected a number from 1 to 10"
        )
    return {"judged": marks[0]}
