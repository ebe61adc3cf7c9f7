"""Image rewards of CLIP's kind: HPSv2.1 (arXiv 2306.09341) and PickScore (arXiv 2305.01569).

Both are CLIP ViT-H/14, trained on what people prefer; the reward is the cosine similarity of a
frame and its caption, mean over a few frames of the clip (T2V-Turbo, arXiv 2405.18750: five).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from einops import rearrange
from torch import Tensor, nn

from ...text.tokenizer import ClipTokenizer
from .base import random_frames
from .pictures import centre_crop, resize_short_side, standardise

if TYPE_CHECKING:
    from transformers import CLIPModel
    from transformers.utils import ModelOutput

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class ClipImageReward(nn.Module):
    """Scores single frames, and knows nothing of motion.

    Args:
        model: its own weights get no gradients.
        name: for logs.
        num_frames: that are looked at in a clip, drawn at random.
    """

    def __init__(self, model: CLIPModel, name: str, num_frames: int = 5):
        super().__init__()
        self.name = name
        self.num_frames = num_frames
        self.model = model.eval().requires_grad_(False)
        self._tokenizer = ClipTokenizer()

    def frames_needed(self, num_frames: int, generator: torch.Generator) -> Tensor:
        """See `Reward`."""
        return random_frames(num_frames, self.num_frames, generator)

    def forward(self, frames: Tensor, captions: list[str], generator: torch.Generator) -> Tensor:
        """Scores `[B]` in -1..1 of clips `[B, 3, K, H, W]` in -1..1; `generator` is not used."""
        size = self.model.config.vision_config.image_size
        pictures = rearrange((frames + 1) / 2, "b c k h w -> (b k) c h w")
        pixels = standardise(
            centre_crop(resize_short_side(pictures, size), size), CLIP_MEAN, CLIP_STD
        )
        image = features(self.model.get_image_features(pixel_values=pixels.to(self.model.dtype)))
        image = rearrange(image, "(b k) d -> b k d", b=len(frames))
        text = self._encode(captions)[:, None]  # [B, 1, D]
        return torch.cosine_similarity(image.float(), text.float(), dim=2).mean(dim=1)

    @torch.no_grad()
    def _encode(self, captions: list[str]) -> Tensor:
        ids = self._tokenizer(captions).to(self.model.device)
        return features(self.model.get_text_features(input_ids=ids))


def features(output: Tensor | ModelOutput) -> Tensor:
    """Projected features `[N, D]`: since version 5, transformers wraps them in an object."""
    return output if isinstance(output, Tensor) else output.pooler_output
