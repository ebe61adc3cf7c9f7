"""ConvNeXt (arXiv 2201.03545) and ConvNeXt V2 (arXiv 2301.00808) over video.

DOVER's aesthetic branch, and both branches of DOVER-Mobile. Time is halved once, at the entrance;
of every three blocks the second looks at three frames, the others at one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

CONVNEXT_PATCH = (2, 4, 4)  # pixels of a token: frames, rows, columns
NORM_EPS = 1e-6  # of all norms


@dataclass(frozen=True)
class ConvNeXtConfig:
    """Size of a ConvNeXt; the defaults are ConvNeXt-T.

    Attributes:
        is_v2: global response normalisation instead of the layer scale.
        num_classes: of an image classifier that is in the checkpoint and never run; 0: there is
            none.
    """

    depths: tuple[int, ...] = (3, 3, 9, 3)
    widths: tuple[int, ...] = (96, 192, 384, 768)
    is_v2: bool = False
    num_classes: int = 0


class ConvNeXt3D(nn.Module):
    """Features of a video: `[B, 3, T, H, W] -> [B, widths[-1], T/2, H/32, W/32]`."""

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
        x = video
        for downsample, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(downsample(x))
        x = self.norm(rearrange(x, "b c t h w -> b t h w c"))
        return rearrange(x, "b t h w c -> b c t h w")


class ConvNeXtBlock(nn.Module):
    """A depthwise convolution, then an MLP on each place: `[B, C, T, H, W]`, shape kept."""

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
        return rearrange(super().forward(rearrange(x, "b c ... -> b ... c")), "b ... c -> b c ...")


class ResponseNorm(nn.Module):
    """Global response normalisation (ConvNeXt V2, section 3.2): `[B, T, H, W, C]`, shape kept."""

    def __init__(self, width: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, width))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        # Over frames and rows, not over the picture: the released weights were trained so.
        response = x.norm(dim=(1, 2), keepdim=True)
        relative = response / (response.mean(dim=-1, keepdim=True) + NORM_EPS)
        return self.gamma * (x * relative) + self.beta + x
