"""ConvNeXt (arXiv 2201.03545) and ConvNeXt V2 (arXiv 2301.00808) for video.

DOVER's aesthetic branch, and both branches of DOVER-Mobile. Time is halved once, in the stem; of
every three blocks the second has a kernel of three frames, the others of one.

Shapes: B videos, C channels, T x H x W frames, rows and columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

CONVNEXT_PATCH = (2, 4, 4)  # frames, rows and columns of a token
NORM_EPS = 1e-6  # of all normalization layers


@dataclass(frozen=True)
class ConvNeXtConfig:
    """Size of a ConvNeXt; the defaults are ConvNeXt-T.

    Attributes:
        is_v2: global response normalization instead of the layer scale.
        num_classes: width of an image classifier that is in the checkpoint but unused; 0: none.
    """

    depths: tuple[int, ...] = (3, 3, 9, 3)
    widths: tuple[int, ...] = (96, 192, 384, 768)
    is_v2: bool = False
    num_classes: int = 0


class ConvNeXt3D(nn.Module):
    """A ConvNeXt that maps `[B, 3, T, H, W]` to features `[B, widths[-1], T/2, H/32, W/32]`."""

    def __init__(self, config: ConvNeXtConfig):
        super().__init__()
        widths = config.widths
        stem = nn.Sequential(
            nn.Conv3d(3, widths[0], CONVNEXT_PATCH, CONVNEXT_PATCH), ChannelNorm(widths[0])
        )
        self.downsample_layers = nn.ModuleList([stem])
        for before, after in pairwise(widths):
            halve = nn.Conv3d(before, after, (1, 2, 2), (1, 2, 2))
            self.downsample_layers.append(nn.Sequential(ChannelNorm(before), halve))
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(ConvNeXtBlock(width, 3 if i % 3 == 1 else 1, config.is_v2) for i in range(n))
            )
            for n, width in zip(config.depths, widths, strict=True)
        )
        self.norm = nn.LayerNorm(widths[-1], eps=NORM_EPS)
        if config.num_classes:
            self.head = nn.Linear(widths[-1], config.num_classes)

    def forward(self, video: Tensor) -> Tensor:
        """Return the features of `video`, `[B, 3, T, H, W] -> [B, C, T/2, H/32, W/32]`."""
        x = video
        for downsample, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(downsample(x))
        x = self.norm(rearrange(x, "b c t h w -> b t h w c"))
        return rearrange(x, "b t h w c -> b c t h w")


class ConvNeXtBlock(nn.Module):
    """A depthwise convolution and a pointwise MLP with a residual; keeps `[B, C, T, H, W]`."""

    def __init__(self, width: int, kernel_frames: int, is_v2: bool):
        super().__init__()
        kernel = (kernel_frames, 7, 7)
        padding = (kernel_frames // 2, 3, 3)
        self.dwconv = nn.Conv3d(width, width, kernel, padding=padding, groups=width)
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.pwconv1 = nn.Linear(width, 4 * width)
        self.grn = ResponseNorm(4 * width) if is_v2 else nn.Identity()
        self.pwconv2 = nn.Linear(4 * width, width)
        self.gamma = None if is_v2 else nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to `[B, C, T, H, W]`."""
        y = rearrange(self.dwconv(x), "b c t h w -> b t h w c")
        y = self.pwconv2(self.grn(F.gelu(self.pwconv1(self.norm(y)))))
        if self.gamma is not None:
            y = self.gamma * y
        return x + rearrange(y, "b t h w c -> b c t h w")


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of `[B, C, T, H, W]`."""

    def __init__(self, width: int):
        super().__init__(width, eps=NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize `[B, C, T, H, W]`."""
        return rearrange(super().forward(rearrange(x, "b c ... -> b ... c")), "b ... c -> b c ...")


class ResponseNorm(nn.Module):
    """Global response normalization (ConvNeXt V2, section 3.2) of `[B, T, H, W, C]`.

    With G(x) = ||x|| of each channel, y = gamma x G(x) / mean_C G(x) + beta + x.
    """

    def __init__(self, width: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, width))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize `[B, T, H, W, C]`."""
        # Over frames and rows, not over the image: the released weights were trained this way.
        response = x.norm(dim=(1, 2), keepdim=True)  # [B, 1, 1, W, C]
        relative = response / (response.mean(dim=-1, keepdim=True) + NORM_EPS)
        return self.gamma * (x * relative) + self.beta + x
