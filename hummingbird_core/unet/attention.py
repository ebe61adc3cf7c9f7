"""Transformer blocks of the U-Net, on clips seen as tokens `[B, T, S, C]`, S pixels a frame."""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..cpu.kernels import attention, linear_class

CPU_TOKENS = 1024  # the feed-forward layer takes so many at a time on a CPU

# How clip tokens [B, T, S, heads * d] are grouped for attention: [batch, heads, sequence, d].
SPATIAL = "b t s (h d) -> (b t) h s d"  # the pixels of one frame
TEMPORAL = "b t s (h d) -> (b s) h t d"  # one pixel through all frames
VIDEO = "b t s (h d) -> b h (t s) d"  # all pixels of all frames, for attention to the text


class Attention(nn.Module):
    """Multi-head attention over clip tokens, grouped as `pattern` says."""

    def __init__(
        self,
        dim: int,
        context_dim: int,
        head_channels: int,
        pattern: str,
        operations: Any,
        **factory: Any,
    ):
        super().__init__()
        self.head_channels = head_channels
        self.pattern = pattern
        linear = linear_class(operations.Linear)
        self.to_q = linear(dim, dim, bias=False, **factory)
        self.to_k = linear(context_dim, dim, bias=False, **factory)
        self.to_v = linear(context_dim, dim, bias=False, **factory)
        self.to_out = nn.Sequential(linear(dim, dim, **factory), nn.Dropout(0.0))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        context = x if context is None else context
        split = functools.partial(rearrange, pattern=self.pattern, d=self.head_channels)
        # 4-D tensors, or the fused kernels are not taken.
        attended = attention(
            split(self.to_q(x)), split(self.to_k(context)), split(self.to_v(context))
        )
        tokens, groups = self.pattern.split(" -> ")
        shape = {"b": x.shape[0], "t": x.shape[1], "s": x.shape[2]}
        return self.to_out(rearrange(attended, f"{groups} -> {tokens}", **shape))


class GEGLU(nn.Module):
    def __init__(self, dim: int, inner_dim: int, operations: Any, **factory: Any):
        super().__init__()
        self.proj = linear_class(operations.Linear)(dim, inner_dim * 2, **factory)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return F.gelu(gate).mul_(value)


class FeedForward(nn.Module):
    def __init__(self, dim: int, operations: Any, **factory: Any):
        super().__init__()
        self.net = nn.Sequential(
            GEGLU(dim, dim * 4, operations, **factory),
            nn.Dropout(0.0),
            linear_class(operations.Linear)(dim * 4, dim, **factory),
        )

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or torch.is_grad_enabled():
            return self.net(x)
        # Inside, features are eight times as wide: a CPU's cache holds those of few tokens only.
        parts = x.flatten(0, -2).split(CPU_TOKENS)  # [B * T * S, C]
        return torch.cat([self.net(part) for part in parts]).view(x.shape)


class TransformerBlock(nn.Module):
    """Self-attention, then attention to the text (`context`) or to itself again, then an MLP."""

    def __init__(
        self,
        dim: int,
        context_dim: int | None,
        head_channels: int,
        pattern: str,
        operations: Any,
        **factory: Any,
    ):
        super().__init__()
        second = (dim, pattern) if context_dim is None else (context_dim, VIDEO)
        self.attn1 = Attention(dim, dim, head_channels, pattern, operations, **factory)
        # In this order, because released LoRA files list modules by it, without names.
        self.ff = FeedForward(dim, operations, **factory)
        self.attn2 = Attention(dim, second[0], head_channels, second[1], operations, **factory)
        self.norm1 = operations.LayerNorm(dim, **factory)
        self.norm2 = operations.LayerNorm(dim, **factory)
        self.norm3 = operations.LayerNorm(dim, **factory)

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        x = self.attn1(self.norm1(x)).add_(x)
        x = self.attn2(self.norm2(x), context).add_(x)
        return self.ff(self.norm3(x)).add_(x)
