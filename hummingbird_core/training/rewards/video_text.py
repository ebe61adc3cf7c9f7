"""A video reward: the similarity of a whole clip, its motion included, and its caption.

Any video-text model of transformers with `video_embeds` and `text_embeds`: X-CLIP (arXiv
2208.02816) and VideoPrism (arXiv 2402.13217). The original recipe uses InternVideo2, which needs
its own code; the reward is the same, a cosine similarity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from einops import rearrange
from torch import Tensor, nn

from ...errors import CheckpointError
from .base import strided_frames
from .clip_image import random_crop, resize_short_side, standardize

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class _Family:
    """The input format of one kind of model.

    Attributes:
        pixels: name of the argument.
        mean, std: of colours in 0..1.
    """

    pixels: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


_FAMILIES = {
    "xclip": _Family("pixel_values", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "videoprism": _Family("pixel_values_videos", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}


class VideoTextReward(nn.Module):
    """Cosine similarity of a clip and its caption.

    Scores the number of frames of the model's training (X-CLIP: 8), floor(T / frames) apart from a
    random start, resized to the model's size on the shorter side and randomly cropped to a square.

    Args:
        model: X-CLIP or VideoPrism; its weights are frozen.
        tokenizer: the model's.
        name: for logs.

    Raises:
        CheckpointError: the model is of another kind.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str = "video"
    ):
        super().__init__()
        kind = model.config.model_type
        if kind not in _FAMILIES:
            raise CheckpointError(
                f"got a video model of type {kind!r}, expected {' or '.join(_FAMILIES)}: "
                "choose such a model"
            )
        self.name = name
        self.model = model.eval().requires_grad_(False)
        self._tokenizer = tokenizer
        self._family = _FAMILIES[kind]

    def frames_needed(self, num_frames: int, generator: torch.Generator) -> Tensor:
        """Choose evenly spaced frames, see `Reward`; short clips repeat frames."""
        return strided_frames(num_frames, self.model.config.vision_config.num_frames, generator)

    def forward(self, frames: Tensor, captions: list[str], generator: torch.Generator) -> Tensor:
        """Score clips `[B, 3, K, H, W]` in -1..1: `[B]` in -1..1."""
        pixels = {self._family.pixels: self._pixels(frames, generator).to(self.model.dtype)}
        output = self.model(**pixels, **self._tokens(captions))
        text = output.text_embeds
        if text.ndim == 3:  # X-CLIP conditions each caption on each video: [video, text, D]
            text = text.diagonal().T
        # Not `logits_per_video`: VideoPrism's are a softmax over the batch.
        return torch.cosine_similarity(output.video_embeds.float(), text.float(), dim=1)

    def _pixels(self, frames: Tensor, generator: torch.Generator) -> Tensor:
        """Preprocess frames to `[B, K, 3, size, size]`."""
        size = self.model.config.vision_config.image_size
        images = rearrange((frames + 1) / 2, "b c k h w -> (b k) c h w")
        images = random_crop(resize_short_side(images, size), size, generator)
        images = standardize(images, self._family.mean, self._family.std)
        return rearrange(images, "(b k) c h w -> b k c h w", b=len(frames))

    def _tokens(self, captions: list[str]) -> dict[str, Tensor]:
        """Tokenize captions to ids and mask, `[B, L]` each."""
        length = self.model.config.text_config.max_position_embeddings
        tokens = self._tokenizer(
            captions, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        )
        return {
            name: tokens[name].to(self.model.device) for name in ("input_ids", "attention_mask")
        }
