"""Models of images and texts from transformers: CLIP, SigLIP and others with the same methods."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..devices import best_device
from ..errors import CheckpointError
from ..hub.local import from_pretrained_offline
from .base import KIND, spread_frames

METHODS = ("get_image_features", "get_text_features")


@dataclass(frozen=True)
class ImageTextModel:
    """A `TextVideoModel` that sees single frames: the vector of a video is their mean.

    Attributes:
        model: with `METHODS`, frozen.
        processor: of its images.
        tokenizer: of its texts.
    """

    model: Any
    processor: Any
    tokenizer: Any

    @classmethod
    def load(cls, name: str) -> ImageTextModel:
        """Load a folder or downloaded hub id onto the best device.

        Raises:
            CheckpointError: it is not on this computer, damaged, or of another kind.
        """
        from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

        model = from_pretrained_offline(AutoModel, name, KIND, use_safetensors=True)
        if not all(hasattr(model, method) for method in METHODS):
            raise CheckpointError(
                f"got {name}, a model of type {model.config.model_type}, as {KIND}, expected one "
                "that embeds images and texts, such as CLIP or SigLIP: choose such a model"
            )
        processor = from_pretrained_offline(AutoImageProcessor, name, KIND)
        tokenizer = from_pretrained_offline(AutoTokenizer, name, KIND)
        return cls(model.eval().requires_grad_(False).to(best_device()), processor, tokenizer)

    @torch.no_grad()
    def embed_video(self, frames: np.ndarray) -> np.ndarray:
        """Return the mean `[D]` of the unit vectors of some frames of uint8 `[T, H, W, 3]`."""
        images = list(frames[spread_frames(len(frames))])
        # [K, D]
        vectors = self._features("get_image_features", self.processor(images, return_tensors="pt"))
        return torch.nn.functional.normalize(vectors, dim=-1).mean(dim=0).numpy()

    @torch.no_grad()
    def embed_text(self, text: str) -> np.ndarray:
        """Return the vector `[D]` of a text, cut to the model's length."""
        length = self.model.config.text_config.max_position_embeddings
        tokens = self.tokenizer(
            [text], padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        )
        return self._features("get_text_features", tokens)[0].numpy()

    def _features(self, method: str, inputs: Any) -> torch.Tensor:
        """Return the features `[N, D]` of all inputs that the method takes."""
        call = getattr(self.model, method)
        taken = inspect.signature(call).parameters
        known = {name: value for name, value in inputs.items() if name in taken}
        output = call(**{name: value.to(self.model.device) for name, value in known.items()})
        if not isinstance(output, torch.Tensor):  # since version 5, transformers wraps them
            output = output.pooler_output
        return output.float().cpu()
