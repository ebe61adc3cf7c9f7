"""Layers of the video U-Net: residual, temporal-convolution and transformer layers.

Features are `[B*T, C, H, W]`, kept in channels-last memory. There a clip seen as tokens
`[B, T, H*W, C]`, or as a picture of time against space `[B, C, T, H*W]`, is the same memory, so
that going from spatial to temporal layers and back is a view and never a copy.

Layer classes come from an `operations` namespace: `torch.nn`, or one that casts and offloads.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..cpu.kernels import linear_class
from ..cpu.winograd import spatial_conv_class
from .attention import SPATIAL, TEMPORAL, TransformerBlock

INIT_ATTENTION_HEADS = 8


def timestep_embedding(timesteps: Tensor, dim: int) -> Tensor:
    """Sinusoids of a step number or frame rate: `[B]` -> `[B, dim]` in fp32, cosines first."""
    half = dim // 2
    steps = torch.arange(half, dtype=torch.float32, device=timesteps.device)
    angles = timesteps.float()[:, None] * torch.exp(-math.log(10000.0) * steps / half)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class FramePositionEmbedding(nn.Module):
    """Tells every frame its place in the clip, together with the text (nano presets only).

    Without it, layers find the order of frames only through the zero padding of the temporal
    convolutions, and a small network is slow to learn which direction a text means.

    Args:
        context_dim: width of the text embedding.
        embedding_dim: width of what is added to the embedding of time.
    """

    HARMONICS = 4

    def __init__(self, context_dim: int, embedding_dim: int, operations: Any, **factory: Any):
        super().__init__()
        self.proj = operations.Linear(context_dim, 2 * self.HARMONICS * embedding_dim, **factory)

    def forward(self, context: Tensor, num_frames: int) -> Tensor:
        """`[B, L, context_dim]` -> `[B, T, embedding_dim]`: waves whose strengths the text sets.

        A direction is a product of text, time and place. Multiplying the first two here leaves one
        product for the layers to find.
        """
        phase = (torch.arange(num_frames, device=context.device) + 0.5) / num_frames
        harmonics = torch.arange(1, self.HARMONICS + 1, device=context.device)
        angles = math.pi * phase[:, None] * harmonics  # [T, HARMONICS]
        waves = torch.cat([angles.cos(), angles.sin()], dim=-1).to(context.dtype)
        strengths = self.proj(context.mean(dim=1)).unflatten(-1, (waves.shape[-1], -1))
        return waves @ strengths  # [T, 2 * HARMONICS] @ [B, 2 * HARMONICS, embedding_dim]


@dataclass(frozen=True)
class Conditioning:
    """What every block is told besides its features.

    Attributes:
        embedding: time, frame rate and guidance, `[B, 1, 4 * model_channels]`, or `[B, T, ...]`
            where frames are also told their place in the clip.
        context: text embedding, `[B, L, context_dim]`: one a video, never repeated per frame.
        num_frames: T.
    """

    embedding: Tensor
    context: Tensor
    num_frames: int


class ConditionedLayer(nn.Module):
    """A layer called as `layer(x, cond)`; all others are called as `layer(x)`."""


class UNetBlock(nn.ModuleList):
    """Layers one after the other, as the checkpoints number them."""

    def forward(self, x: Tensor, cond: Conditioning) -> Tensor:
        for layer in self:
            x = layer(x, cond) if isinstance(layer, ConditionedLayer) else layer(x)
        return x


def silu() -> nn.SiLU:
    """SiLU in the place of what the norm before it made: half of the allocations between layers."""
    return nn.SiLU(inplace=True)


def spatial_conv(channels: int, out_channels: int, operations: Any, **factory: Any) -> nn.Module:
    """A 3x3 convolution that keeps the size, as all but those that halve it are."""
    conv_class = spatial_conv_class(operations.Conv2d)
    return conv_class(channels, out_channels, 3, padding=1, **factory)


@functools.cache
def temporal_conv_class(conv3d: type[nn.Conv3d]) -> type[nn.Conv3d]:
    """A Conv3d of kernel (k, 1, 1) that is computed as the equal, faster 2-D convolution.

    It stays a `conv3d` subclass with 3-D weights, as the spatial one stays a `conv2d`, so that
    weight casting, offload and LoRA of whoever provides the class go on working.
    """

    class TemporalConv(conv3d):  # type: ignore[valid-type, misc]
        def _conv_forward(
            self, x: Tensor, weight: Tensor, bias: Tensor | None, *_: Any, **__: Any
        ) -> Tensor:
            # [B, C, T, S, 1] -> [B, C, T, S]: a picture of time against space
            y = F.conv2d(x.squeeze(-1), weight.squeeze(-1), bias, padding=self.padding[:2])
            return y.unsqueeze(-1)

    return TemporalConv


class TemporalConvBlock(nn.Module):
    """Four temporal convolutions with an identity around them; norms see all frames at once."""

    def __init__(
        self, channels: int, norm_groups: int, dropout: float, operations: Any, **factory: Any
    ):
        super().__init__()
        conv_class = temporal_conv_class(operations.Conv3d)

        def conv() -> nn.Module:
            return conv_class(channels, channels, (3, 1, 1), padding=(1, 0, 0), **factory)

        def norm() -> nn.Module:
            return operations.GroupNorm(norm_groups, channels, **factory)

        self.conv1 = nn.Sequential(norm(), silu(), conv())
        self.conv2 = nn.Sequential(norm(), silu(), nn.Dropout(dropout), conv())
        self.conv3 = nn.Sequential(norm(), silu(), nn.Dropout(dropout), conv())
        self.conv4 = nn.Sequential(norm(), silu(), nn.Dropout(dropout), conv())

    def forward(self, x: Tensor, num_frames: int) -> Tensor:
        height = x.shape[-2]
        x = rearrange(x, "(b t) c h w -> b c t (h w) 1", t=num_frames)
        x = self.conv4(self.conv3(self.conv2(self.conv1(x)))).add_(x)
        return rearrange(x, "b c t (h w) 1 -> (b t) c h w", h=height)


class ResBlock(ConditionedLayer):
    """Two spatial convolutions with the embedding added between them, then the temporal ones."""

    def __init__(
        self,
        channels: int,
        out_channels: int,
        embedding_dim: int,
        norm_groups: int,
        dropout: float,
        operations: Any,
        **factory: Any,
    ):
        super().__init__()
        self.in_layers = nn.Sequential(
            operations.GroupNorm(norm_groups, channels, **factory),
            silu(),
            spatial_conv(channels, out_channels, operations, **factory),
        )
        self.emb_layers = nn.Sequential(
            nn.SiLU(), operations.Linear(embedding_dim, out_channels, **factory)
        )
        self.out_layers = nn.Sequential(
            operations.GroupNorm(norm_groups, out_channels, **factory),
            silu(),
            nn.Dropout(dropout),
            spatial_conv(out_channels, out_channels, operations, **factory),
        )
        self.skip_connection = (
            nn.Identity()
            if channels == out_channels
            else operations.Conv2d(channels, out_channels, 1, **factory)
        )
        self.temopral_conv = TemporalConvBlock(
            out_channels, norm_groups, dropout, operations, **factory
        )

    def forward(self, x: Tensor, cond: Conditioning) -> Tensor:
        h = self.in_layers(x)
        shift = self.emb_layers(cond.embedding)[..., None, None]  # [B, 1 or T, C, 1, 1]
        h.unflatten(0, (-1, cond.num_frames)).add_(shift)  # [B*T, C, H, W] as [B, T, C, H, W]
        h = self.out_layers(h).add_(self.skip_connection(x))
        return self.temopral_conv(h, cond.num_frames)


class SpatialTransformer(ConditionedLayer):
    """Attention inside each frame, and of each frame to the text."""

    def __init__(
        self,
        channels: int,
        context_dim: int,
        head_channels: int,
        norm_groups: int,
        operations: Any,
        **factory: Any,
    ):
        super().__init__()
        self.norm = operations.GroupNorm(norm_groups, channels, eps=1e-6, **factory)
        linear = linear_class(operations.Linear)
        self.proj_in = linear(channels, channels, **factory)
        block = TransformerBlock(
            channels, context_dim, head_channels, SPATIAL, operations, **factory
        )
        self.transformer_blocks = nn.ModuleList([block])
        self.proj_out = linear(channels, channels, **factory)

    def forward(self, x: Tensor, cond: Conditioning) -> Tensor:
        tokens = rearrange(self.norm(x), "(b t) c h w -> b t (h w) c", t=cond.num_frames)
        tokens = self.proj_in(tokens)
        context = cond.context[:, None]  # [B, 1, L, C]: one "frame" of text tokens
        for block in self.transformer_blocks:
            tokens = block(tokens, context)
        return x + rearrange(self.proj_out(tokens), "b t (h w) c -> (b t) c h w", h=x.shape[-2])


class TemporalTransformer(ConditionedLayer):
    """Attention of each pixel position through time; its norm sees all frames at once."""

    def __init__(
        self,
        channels: int,
        inner_dim: int,
        head_channels: int,
        norm_groups: int,
        use_linear: bool,
        operations: Any,
        **factory: Any,
    ):
        super().__init__()
        # The very first temporal transformer of the checkpoints projects with Conv1d.
        projection = (
            linear_class(operations.Linear)
            if use_linear
            else functools.partial(operations.Conv1d, kernel_size=1)
        )
        self.use_linear = use_linear
        self.norm = operations.GroupNorm(norm_groups, channels, eps=1e-6, **factory)
        self.proj_in = projection(channels, inner_dim, **factory)
        block = TransformerBlock(inner_dim, None, head_channels, TEMPORAL, operations, **factory)
        self.transformer_blocks = nn.ModuleList([block])
        self.proj_out = projection(inner_dim, channels, **factory)

    def forward(self, x: Tensor, cond: Conditioning) -> Tensor:
        time_by_space = rearrange(x, "(b t) c h w -> b c t (h w)", t=cond.num_frames)
        tokens = rearrange(self.norm(time_by_space), "b c t s -> b t s c")
        tokens = self._project(self.proj_in, tokens)
        for block in self.transformer_blocks:
            tokens = block(tokens, None)
        tokens = self._project(self.proj_out, tokens)
        return x + rearrange(tokens, "b t (h w) c -> (b t) c h w", h=x.shape[-2])

    def _project(self, projection: nn.Module, tokens: Tensor) -> Tensor:
        if self.use_linear:
            return projection(tokens)
        y = projection(rearrange(tokens, "b t s c -> b c (t s)"))
        return rearrange(y, "b c (t s) -> b t s c", t=tokens.shape[1])


class Downsample(nn.Module):
    def __init__(self, channels: int, operations: Any, **factory: Any):
        super().__init__()
        self.op = operations.Conv2d(channels, channels, 3, stride=2, padding=1, **factory)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class Upsample(nn.Module):
    """Doubles height and width; `HummingbirdUNet` cuts a size that was odd before it was halved."""

    def __init__(self, channels: int, operations: Any, **factory: Any):
        super().__init__()
        self.conv = spatial_conv(channels, channels, operations, **factory)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
