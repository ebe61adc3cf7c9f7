"""CLIP image rewards: HPSv2.1 (arXiv 2306.09341) and PickScore (arXiv 2305.01569).

Both are CLIP ViT-H/14, trained on human preferences; the reward is the cosine similarity of a frame
and its caption, mean over a few frames of the clip (T2V-Turbo, arXiv 2405.18750: five).
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
    """Scores single frames; insensitive to motion.

    Args:
        model: CLIP; its weights are frozen.
        name: for logs.
        num_frames: number of frames scored in a clip, drawn at random.
    """

    def __init__(self, model: CLIPModel, name: str, num_frames: int = 5):
        super().__init__()
        self.name = name
        self.num_frames = num_frames
        self.model = model.eval().requires_grad_(False)
        self._tokenizer = ClipTokenizer()

    def frames_needed(self, num_frames: int, generator: torch.Generator) -> Tensor:
        """Choose random frames, see `Reward`."""
        return random_frames(num_frames, self.num_frames, generator)

    def forward(self, frames: Tensor, captions: list[str], generator: torch.Generator) -> Tensor:
        """Score clips `[B, 3, K, H, W]` in -1..1: `[B]` in -1..1; `generator` is not used."""
        size = self.model.config.vision_config.image_size
        images = rearrange((frames + 1) / 2, "b c k h w -> (b k) c h w")
        pixels = standardize(
            center_crop(resize_short_side(images, size), size), CLIP_MEAN, CLIP_STD
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
    """Return projected features `[N, D]`; since version 5, transformers wraps them."""
    return output if isinstance(output, Tensor) else output.pooler_output


def resize_short_side(images: Tensor, size: int) -> Tensor:
    """Resize `[N, 3, H, W]` in 0..1 to a shorter side of `size` pixels, as Pillow does.

    Bicubic with anti-aliasing, clamped to 0..1 against the overshoot at edges.
    """
    height, width = images.shape[2:]
    scale = size / min(height, width)
    # Truncated, not rounded, as in the preprocessing of CLIP's training.
    new_size = max(size, int(height * scale)), max(size, int(width * scale))
    resized = F.interpolate(
        images.float(), new_size, mode="bicubic", antialias=True, align_corners=False
    )
    return resized.clamp(0, 1)


def center_crop(images: Tensor, size: int) -> Tensor:
    """Crop the middle `[..., size, size]` of `[..., H, W]`."""
    height, width = images.shape[-2:]
    return _crop(images, round((height - size) / 2), round((width - size) / 2), size)


def random_crop(images: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Crop a random `[..., size, size]` of `[..., H, W]`, the same for all images."""
    top, left = (
        int(torch.randint(length - size + 1, (1,), generator=generator))
        for length in images.shape[-2:]
    )
    return _crop(images, top, left, size)


def _crop(images: Tensor, top: int, left: int, size: int) -> Tensor:
    return images[..., top : top + size, left : left + size]


def standardize(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Subtract the mean and divide by the deviation of each colour of `[N, 3, H, W]`."""
    shape = (1, 3, 1, 1)
    return (images - images.new_tensor(mean).view(shape)) / images.new_tensor(std).view(shape)
