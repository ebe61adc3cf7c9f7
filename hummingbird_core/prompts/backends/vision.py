"""Local vision-language models, run by transformers; nothing is downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ...devices import best_device
from ...errors import CheckpointError, MissingPackageError
from ...hub.local import from_pretrained_offline

KIND = "vision-language model"
MAX_NEW_TOKENS = 128  # of a caption


@dataclass(frozen=True)
class LocalCaptioner:
    """A model that answers questions about images, with its processor."""

    model: Any
    processor: Any

    @classmethod
    def load(cls, name: str) -> LocalCaptioner:
        """Load a folder or downloaded hub id onto the best device; its code is never executed.

        Raises:
            CheckpointError: it is not on this computer, damaged, or of another kind.
            MissingPackageError: transformers is too old.
        """
        import transformers

        loader = getattr(transformers, "AutoModelForImageTextToText", None)
        if loader is None:
            raise MissingPackageError(
                f"got transformers {transformers.__version__}, expected one with vision-language "
                "models: install transformers>=4.48"
            )
        processor = from_pretrained_offline(transformers.AutoProcessor, name, KIND)
        options = {"use_safetensors": True, "torch_dtype": "auto"}
        model = from_pretrained_offline(loader, name, KIND, **options)
        if not getattr(processor, "chat_template", None):
            raise CheckpointError(
                f"got {name} without a chat template as {KIND}, expected an instruct model: "
                "choose one"
            )
        return cls(model.eval().to(best_device()), processor)

    def describe(self, frames: np.ndarray, system: str, question: str, seed: int) -> str:
        """Return the most likely answer about frames, uint8 `[K, H, W, 3]`; it needs no seed."""
        from PIL import Image

        images = [{"type": "image", "image": Image.fromarray(frame)} for frame in frames]
        text = {"type": "text", "text": f"{system}\n\n{question}"}  # some have no system role
        inputs = self.processor.apply_chat_template(
            [{"role": "user", "content": [*images, text]}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        ).to(self.model.device, self.model.dtype)
        with torch.inference_mode():
            ids = self.model.generate(**inputs, do_sample=False, max_new_tokens=MAX_NEW_TOKENS)
        new = ids[0, inputs["input_ids"].shape[1] :]
        return self.processor.decode(new, skip_special_tokens=True)
