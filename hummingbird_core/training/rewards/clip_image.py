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

if TYPE_CHECKING:
    from transformers import CLIPModel
    from transformers.utils import ModelOutput
import torch.nn.functional as F

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


def resize_short_side(pictures: Tensor, size: int) -> Tensor:
    """Bicubic and anti-aliased, as Pillow resizes: `[N, 3, H, W]`, the shorter side `size` pixels.

    Values are those of the input, 0..1, without the overshoot at edges.
    """
    height, width = pictures.shape[2:]
    scale = size / min(height, width)
    # Cut off, not rounded, as in the pre-processing that CLIP models are trained with.
    new_size = max(size, int(height * scale)), max(size, int(width * scale))
    resized = F.interpolate(
        pictures.float(), new_size, mode="bicubic", antialias=True, align_corners=False
    )
    return resized.clamp(0, 1)


def centre_crop(pictures: Tensor, size: int) -> Tensor:
    """The middle `[..., size, size]` of `[..., H, W]`."""
    height, width = pictures.shape[-2:]
    return _crop(pictures, round((height - size) / 2), round((width - size) / 2), size)


def random_crop(pictures: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Any `[..., size, size]` of `[..., H, W]`, the same for all pictures."""
    top, left = (
        int(torch.randint(length - size + 1, (1,), generator=generator))
        for length in pictures.shape[-2:]
    )
    return _crop(pictures, top, left, size)


def _crop(pictures: Tensor, top: int, left: int, size: int) -> Tensor:
    return pictures[..., top : top + size, left : left + size]


def standardise(pictures: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Subtracts the mean and divides by the deviation of each colour of `[N, 3, H, W]`."""
    shape = (1, 3, 1, 1)
    return (pictures - pictures.new_tensor(mean).view(shape)) / pictures.new_tensor(std).view(shape)
