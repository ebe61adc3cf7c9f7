"""Layers of the video U-Net: residual, temporal-convolution and transformer layers.

Shapes: B videos, T frames, C channels, H x W latent pixels, S = H*W, L text tokens, E channels of
the conditioning embedding.

Features are `[B*T, C, H, W]`, kept in channels-last memory. There a clip as tokens `[B, T, H*W, C]`
or as an image of time by space `[B, C, T, H*W]` is the same memory, so that going from spatial to
temporal layers and back is a view and never a copy.

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

from .attention import SPATIAL, TEMPORAL, TransformerBlock
from .config import FRAME_HARMONICS, FRAME_OCTAVES, INIT_ATTENTION_HEADS, UNetConfig
from .hooks import UNetHooks
from .text import Text


def timestep_embedding(timesteps: Tensor, dim: int) -> Tensor:
    """Embed a timestep or frame rate in sinusoids (arXiv 1706.03762, section 3.5).

    emb_i = cos(t w_i) and emb_(i + dim/2) = sin(t w_i), with w_i = 10000^(-2i/dim).

    Args:
        timesteps: t, `[B]`.
        dim: channels of the embedding, even.

    Returns:
        `[B, dim]` float32.
    """
    half = dim // 2
    # 10000^(-2i/dim) = exp(-ln(10000) i / half), in float32 whatever the model's dtype.
    steps = torch.arange(half, dtype=torch.float32, device=timesteps.device)
    # [B, 1] * [dim/2] -> [B, dim/2]
    angles = timesteps.float()[:, None] * torch.exp(-math.log(10000.0) * steps / half)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class FramePositionEmbedding(nn.Module):
    """An embedding of each frame's position in the clip and the text (nano presets only).

    Without it, layers can infer the order of frames only from the zero padding of the temporal
    convolutions, and a small network is slow to learn which direction a text means.

    emb(p) = sum_k a_k cos(pi k p) + b_k sin(pi k p), with p in 0..1 the position in the clip, and
    with `frame_seconds` also sum_f a_f cos(2 pi f s) + b_f sin(2 pi f s), with s in seconds from
    the middle. The amplitudes are a linear function of the mean text token. A direction is a
    product of text, time and position; multiplying text and time here leaves one product for the
    layers to learn. In seconds, one speed is one wave at every frame rate and length.

    In a loop every wave has whole periods over the clip: cos(2 pi k p), and the nearest f to fit.

    Args:
        config: `context_dim`, `embedding_dim` and `frame_seconds` count.
        operations: namespace of layer classes.
    """

    def __init__(self, config: UNetConfig, operations: Any):
        super().__init__()
        self.has_seconds = config.frame_seconds
        count = FRAME_HARMONICS + FRAME_OCTAVES * self.has_seconds
        self.proj = operations.Linear(config.context_dim, 2 * count * config.embedding_dim)

    def forward(
        self, context: Tensor, num_frames: int, fps: Tensor, *, loop: bool = False
    ) -> Tensor:
        """Sum waves over the clip whose amplitudes are a linear function of the mean text token.

        Args:
            context: text embedding `[B, L, context_dim]`.
            num_frames: T.
            fps: frames per second, `[B]`.
            loop: whether the first frame follows the last one.

        Returns:
            `[B, T, E]`.
        """
        angles = self._angles(num_frames, fps, loop)  # [T, K], or [B, T, K + F]
        waves = torch.cat([angles.cos(), angles.sin()], dim=-1).to(context.dtype)
        # [B, context_dim] -> [B, 2K*E] -> [B, 2K, E]
        amplitudes = self.proj(context.mean(dim=1)).unflatten(-1, (waves.shape[-1], -1))
        return waves @ amplitudes  # [(B,) T, 2K] @ [B, 2K, E] -> [B, T, E]

    def _angles(self, num_frames: int, fps: Tensor, loop: bool) -> Tensor:
        """Return the phase of every wave in every frame, `[T, K]` or `[B, T, K + F]`."""
        # Frame centers at p = (frame + 1/2) / T: the last frame is as far from the end as the first
        # from the start. Floats, which the ONNX exporter of torch 2.10 multiplies by no integers.
        frame = torch.arange(0.5, num_frames, device=fps.device)
        position = frame / num_frames
        harmonics = torch.arange(1.0, FRAME_HARMONICS + 1, device=fps.device)
        angles = math.pi * (1 + loop) * position[:, None] * harmonics  # [T, 1] * [K] -> [T, K]
        if not self.has_seconds:
            return angles
        rate = fps.float()[:, None]  # [B, 1]
        # [F] in Hz: the slowest wave is nearly linear in a clip of two seconds.
        frequency = 0.125 * 2.0 ** torch.arange(0.0, FRAME_OCTAVES, device=fps.device)
        if loop:
            duration = num_frames / rate
            frequency = (frequency * duration).round().clamp(min=1) / duration  # [B, F]
        seconds = (frame - num_frames / 2) / rate  # [B, T]
        # [B, T, 1] * [B or 1, 1, F] -> [B, T, F]
        waves = 2 * math.pi * seconds[:, :, None] * frequency.reshape(-1, 1, FRAME_OCTAVES)
        return torch.cat([angles.expand(len(fps), -1, -1), waves], dim=-1)


@dataclass(frozen=True)
class Conditioning:
    """Inputs of every block besides its features.

    Attributes:
        embedding: timestep, frame rate and guidance scale, `[B, 1, E]` with E = 4 *
            `model_channels`; `[B, T, E]` where the position of each frame is added.
        text: one a video, or K with their weights in each frame; never repeated per frame.
        num_frames: T.
        hooks: of this forward pass; without a default, which torch.compile 2.10 can't take.
        loop: whether convolutions through time wrap around instead of seeing zeros at both ends.
    """

    embedding: Tensor
    text: Text
    num_frames: int
    hooks: UNetHooks
    loop: bool = False


class ConditionedLayer(nn.Module):
    """A layer called as `layer(x, cond)`; all others are called as `layer(x)`."""


class UNetBlock(nn.Sequential):
    """Layers, numbered as in the checkpoints, applied one after the other."""

    def forward(self, x: Tensor, cond: Conditioning) -> Tensor:  # type: ignore[override]
        """Map features `[B*T, C, H, W]` to the block's output channels and size."""
        # [B*T, C, H, W] after every layer: transformers return to it from their tokens.
        for layer in self:
            x = layer(x, cond) if isinstance(layer, ConditionedLayer) else layer(x)
        return x


def silu() -> nn.SiLU:
    """Return a SiLU that overwrites the output of the norm before it: half of the allocations."""
    return nn.SiLU(inplace=True)


def conv3x3(in_channels: int, out_channels: int, operations: Any) -> nn.Module:
    """Return a 3x3 convolution that keeps the size."""
    return operations.Conv2d(in_channels, out_channels, 3, padding=1)


class TemporalConvBlock(nn.Module):
    """Four temporal convolutions with a residual connection; norms see all frames at once."""

    def __init__(self, channels: int, config: UNetConfig, operations: Any):
        super().__init__()

        # On [B, C, T, S, 1], the statistics of a group of channels are over all frames of a clip.
        def norm() -> nn.Module:
            return operations.GroupNorm(config.norm_groups, channels)

        # A receptive field of 3 frames each, 9 after all four; zeros before and after the clip.
        def conv() -> nn.Module:
            return operations.Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0))

        def dropout() -> nn.Module:
            return nn.Dropout(config.dropout)

        self.conv1 = nn.Sequential(norm(), silu(), conv())
        self.conv2 = nn.Sequential(norm(), silu(), dropout(), conv())
        self.conv3 = nn.Sequential(norm(), silu(), dropout(), conv())
        self.conv4 = nn.Sequential(norm(), silu(), dropout(), conv())

    def forward(self, x: Tensor, num_frames: int, *, loop: bool = False) -> Tensor:
        """Mix the frames of features `[B*T, C, H, W]`."""
        height = x.shape[-2]
        # [B*T, C, H, W] -> [B, C, T, H*W, 1]: a kernel of (3, 1, 1) sees no pixel's neighbors.
        x = rearrange(x, "(b t) c h w -> b c t (h w) 1", t=num_frames)
        h = x
        for layers in (self.conv1, self.conv2, self.conv3, self.conv4):
            h = convolve_in_loop(layers, h) if loop else layers(h)
        x = h.add_(x)  # x + f(x), written into the new tensor of conv4
        # [B, C, T, H*W, 1] -> [B*T, C, H, W]
        return rearrange(x, "b c t (h w) 1 -> (b t) c h w", h=height)


def convolve_in_loop(layers: nn.Sequential, x: Tensor) -> Tensor:
    """Apply norm, activation and a temporal convolution for which time is a circle.

    Args:
        layers: the last is the convolution, of kernel (3, 1, 1) and padding (1, 0, 0).
        x: `[B, C, T, S, 1]`.
    """
    h = layers[:-1](x)
    # One frame from the other end on each side; the convolution's own zeros reach only the outer
    # frames of its output. [B, C, T, S, 1] -> [B, C, T + 2, S, 1] -> [B, C, T, S, 1]
    return layers[-1](torch.cat([h[:, :, -1:], h, h[:, :, :1]], dim=2))[:, :, 1:-1]


class ResBlock(ConditionedLayer):
    """Two spatial convolutions with the embedding added between them, then the temporal ones.

    h = conv(SiLU(norm(x))) + W SiLU(emb);  y = skip(x) + conv(SiLU(norm(h))), as in latent
    diffusion (arXiv 2112.10752), followed by `TemporalConvBlock`.
    """

    def __init__(self, in_channels: int, out_channels: int, config: UNetConfig, operations: Any):
        super().__init__()
        # conv(SiLU(norm(x)))
        self.in_layers = nn.Sequential(
            operations.GroupNorm(config.norm_groups, in_channels),
            silu(),
            conv3x3(in_channels, out_channels, operations),
        )
        # W SiLU(emb)
        self.emb_layers = nn.Sequential(
            nn.SiLU(), operations.Linear(config.embedding_dim, out_channels)
        )
        self.out_layers = nn.Sequential(
            operations.GroupNorm(config.norm_groups, out_channels),
            silu(),
            nn.Dropout(config.dropout),
            conv3x3(out_channels, out_channels, operations),
        )
        # A 1x1 projection where the number of channels changes.
        self.skip_connection = (
            nn.Identity()
            if in_channels == out_channels
            else operations.Conv2d(in_channels, out_channels, 1)
        )
        self.temopral_conv = TemporalConvBlock(out_channels, config, operations)

    def forward(self, x: Tensor, cond: Conditioning) -> Tensor:
        """Map features `[B*T, in_channels, H, W]` to `[B*T, out_channels, H, W]`."""
        h = self.in_layers(x)  # [B*T, C_in, H, W] -> [B*T, C, H, W]
        # [B, 1 or T, E] -> [B, 1 or T, C] -> [B, 1 or T, C, 1, 1]
        shift = self.emb_layers(cond.embedding)[..., None, None]
        # [B*T, C, H, W] -> [B, T, C, H, W], a view: h itself is changed.
        h.unflatten(0, (-1, cond.num_frames)).add_(shift)
        h = self.out_layers(h).add_(self.skip_connection(x))
        return self.temopral_conv(h, cond.num_frames, loop=cond.loop)


class SpatialTransformer(ConditionedLayer):
    """Attention among the pixels of each frame, and from them to the text."""

    def __init__(self, channels: int, config: UNetConfig, operations: Any):
        super().__init__()
        # On [B*T, C, H, W]: statistics of one frame, those of TemporalTransformer are of the clip.
        self.norm = operations.GroupNorm(config.norm_groups, channels, eps=1e-6)
        self.proj_in = operations.Linear(channels, channels)
        block = TransformerBlock(
            channels, config.context_dim, config.head_channels, SPATIAL, operations
        )
        self.transformer_blocks = nn.ModuleList([block])
        self.proj_out = operations.Linear(channels, channels)

    def forward(self, x: Tensor, cond: Conditioning) -> Tensor:
        """Update features `[B*T, C, H, W]`."""
        # [B*T, C, H, W] -> [B, T, H*W, C]
        tokens = rearrange(self.norm(x), "(b t) c h w -> b t (h w) c", t=cond.num_frames)
        tokens = self.proj_in(tokens)
        for block in self.transformer_blocks:
            tokens = cond.hooks.transform(block, tokens, cond.text, x.shape[-2])
        # [B, T, H*W, C] -> [B*T, C, H, W]
        return x + rearrange(self.proj_out(tokens), "b t (h w) c -> (b t) c h w", h=x.shape[-2])


class TemporalTransformer(ConditionedLayer):
    """Attention of each pixel position through time; its norm sees all frames at once.

    Args:
        channels: C of the features.
        config: of the U-Net.
        operations: namespace of layer classes.
        is_initial: whether this is the one behind the first convolution. In the checkpoints its
            attention has INIT_ATTENTION_HEADS heads and it projects with Conv1d; all others have
            as many channels as the features and project with Linear.
    """

    def __init__(
        self, channels: int, config: UNetConfig, operations: Any, is_initial: bool = False
    ):
        super().__init__()
        inner_dim = INIT_ATTENTION_HEADS * config.head_channels if is_initial else channels
        projection = (
            functools.partial(operations.Conv1d, kernel_size=1) if is_initial else operations.Linear
        )
        self.use_linear = not is_initial
        self.norm = operations.GroupNorm(config.norm_groups, channels, eps=1e-6)
        self.proj_in = projection(channels, inner_dim)
        # No text here: context_dim None gives two self-attentions through time.
        block = TransformerBlock(inner_dim, None, config.head_channels, TEMPORAL, operations)
        self.transformer_blocks = nn.ModuleList([block])
        self.proj_out = projection(inner_dim, channels)

    def forward(self, x: Tensor, cond: Conditioning) -> Tensor:
        """Update features `[B*T, C, H, W]`."""
        # [B*T, C, H, W] -> [B, C, T, H*W]
        time_by_space = rearrange(x, "(b t) c h w -> b c t (h w)", t=cond.num_frames)
        # [B, C, T, S] -> [B, T, S, C]
        tokens = rearrange(self.norm(time_by_space), "b c t s -> b t s c")
        tokens = self._project(self.proj_in, tokens)
        for block in self.transformer_blocks:
            tokens = cond.hooks.transform(block, tokens, None, x.shape[-2])
        tokens = self._project(self.proj_out, tokens)
        # [B, T, H*W, C] -> [B*T, C, H, W]
        return x + rearrange(tokens, "b t (h w) c -> (b t) c h w", h=x.shape[-2])

    def _project(self, projection: nn.Module, tokens: Tensor) -> Tensor:
        """Change the channels of tokens `[B, T, S, C]`."""
        if self.use_linear:
            return projection(tokens)
        y = projection(rearrange(tokens, "b t s c -> b c (t s)"))  # [B, T, S, C] -> [B, C, T*S]
        return rearrange(y, "b c (t s) -> b t s c", t=tokens.shape[1])  # back to [B, T, S, C]


class Downsample(nn.Module):
    """Halves height and width by a 3x3 convolution of stride 2."""

    def __init__(self, channels: int, operations: Any):
        super().__init__()
        self.op = operations.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B*T, C, H, W]` to `[B*T, C, ceil(H/2), ceil(W/2)]`."""
        return self.op(x)  # output pixel (i, j) is centered on input pixel (2i, 2j)


class Upsample(nn.Module):
    """Doubles height and width; `HummingbirdUNet` crops to a size that was odd before halving."""

    def __init__(self, channels: int, operations: Any):
        super().__init__()
        self.conv = conv3x3(channels, channels, operations)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B*T, C, H, W]` to `[B*T, C, 2H, 2W]`: nearest neighbor, then smoothed."""
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
