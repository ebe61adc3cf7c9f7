"""Transformer blocks of the U-Net, on clips as tokens `[B, T, S, C]`.

Shapes: B videos, T frames, S = H*W pixels of a frame, K texts of L tokens each, C channels, h heads
of d channels each (C = h*d).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..cpu.kernels import attention
from .text import Text

# softmax(q k^T / sqrt(d)) v on tensors [batch, heads, sequence, d]
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]

CPU_TOKENS = 1024  # tokens that the feed-forward layer takes at a time on a CPU

# Grouping of clip tokens [B, T, S, h*d] for attention: [batch, heads, sequence, d].
SPATIAL = "b t s (h d) -> (b t) h s d"  # among the pixels of one frame
TEMPORAL = "b t s (h d) -> (b s) h t d"  # of one pixel, through all frames
VIDEO = "b t s (h d) -> b h (t s) d"  # all pixels of all frames; the keys are text tokens


class Attention(nn.Module):
    """Multi-head attention, softmax(Q K^T / sqrt(d)) V (arXiv 1706.03762, section 3.2).

    Args:
        dim: channels C of the tokens.
        context_dim: channels of the tokens attended to.
        head_channels: d.
        pattern: which tokens attend to each other: SPATIAL, TEMPORAL or VIDEO.
        operations: namespace of layer classes.
    """

    def __init__(
        self, dim: int, context_dim: int, head_channels: int, pattern: str, operations: Any
    ):
        super().__init__()
        self.head_channels = head_channels
        self.pattern = pattern
        self.to_q = operations.Linear(dim, dim, bias=False)
        self.to_k = operations.Linear(context_dim, dim, bias=False)
        self.to_v = operations.Linear(context_dim, dim, bias=False)
        self.to_out = nn.Sequential(operations.Linear(dim, dim), nn.Dropout(0.0))

    def forward(self, x: Tensor, text: Text | None = None, attend: Attend = attention) -> Tensor:
        """Attend from tokens `x` `[B, T, S, C]` to a text, or to themselves."""
        q = self.to_q(x)  # [B, T, S, C]
        if text is None:
            pattern, k, v = self.pattern, self.to_k(x), self.to_v(x)
        else:
            # Keys and values are linear in the text: computed once for each of the K texts, then
            # mixed. Frames with different texts attend separately. [B, 1 or T, L, C]
            pattern = self.pattern if text.weights is None else SPATIAL
            k = text.per_frame(self.to_k(text.tokens))
            v = text.per_frame(self.to_v(text.tokens))
        # [B, T, S, h*d] -> [batch, h, sequence, d]; the fused kernels need 4-D tensors.
        split = functools.partial(rearrange, pattern=pattern, d=self.head_channels)
        attended = attend(split(q), split(k), split(v))
        tokens, groups = pattern.split(" -> ")
        shape = {"b": x.shape[0], "t": x.shape[1], "s": x.shape[2]}
        # [batch, h, sequence, d] -> [B, T, S, h*d]
        return self.to_out(rearrange(attended, f"{groups} -> {tokens}", **shape))


class GEGLU(nn.Module):
    """A GELU-gated linear unit, (x W + b) * GELU(x V + c) (arXiv 2002.05202, equation 6)."""

    def __init__(self, dim: int, inner_dim: int, operations: Any):
        super().__init__()
        self.proj = operations.Linear(dim, inner_dim * 2)  # W and V in one matrix

    def forward(self, x: Tensor) -> Tensor:
        """Map `[..., dim]` to `[..., inner_dim]`."""
        value, gate = self.proj(x).chunk(2, dim=-1)  # [..., 2*inner] -> twice [..., inner]
        return F.gelu(gate).mul_(value)


class FeedForward(nn.Module):
    """The MLP of a transformer block, four times as wide inside."""

    def __init__(self, dim: int, operations: Any):
        super().__init__()
        self.net = nn.Sequential(
            GEGLU(dim, dim * 4, operations),
            nn.Dropout(0.0),
            operations.Linear(dim * 4, dim),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens `[B, T, S, C]` to the same shape, each by itself."""
        if x.device.type != "cpu" or torch.is_grad_enabled():
            return self.net(x)
        # Features inside are eight times as wide: a CPU's cache holds those of few tokens only.
        parts = x.flatten(0, -2).split(CPU_TOKENS)  # [B, T, S, C] -> [B*T*S, C]
        # [B*T*S, C] -> [B, T, S, C]
        return torch.cat([self.net(part) for part in parts]).view(x.shape)


class TransformerBlock(nn.Module):
    """Self-attention, attention to the text (or a second self-attention), and an MLP.

    Pre-norm and residual: x <- x + f(LayerNorm(x)) for each of the three.

    Args:
        dim: channels C of the tokens.
        context_dim: channels of the text tokens; None for a second self-attention.
        head_channels: channels of one head.
        pattern: SPATIAL or TEMPORAL, for the self-attention.
        operations: namespace of layer classes.
    """

    def __init__(
        self, dim: int, context_dim: int | None, head_channels: int, pattern: str, operations: Any
    ):
        super().__init__()
        second = (dim, pattern) if context_dim is None else (context_dim, VIDEO)
        self.attn1 = Attention(dim, dim, head_channels, pattern, operations)
        # ff before attn2: released LoRA files list modules in this order, without names.
        self.ff = FeedForward(dim, operations)
        self.attn2 = Attention(dim, second[0], head_channels, second[1], operations)
        self.norm1 = operations.LayerNorm(dim)
        self.norm2 = operations.LayerNorm(dim)
        self.norm3 = operations.LayerNorm(dim)

    def forward(self, x: Tensor, text: Text | None, attend: Attend = attention) -> Tensor:
        """Update tokens `[B, T, S, C]`; `text` is None in temporal transformers."""
        # add_ writes into the new tensor that the layer returned, never into x.
        x = self.attn1(self.norm1(x), None, attend).add_(x)
        x = self.attn2(self.norm2(x), text, attend).add_(x)
        return self.ff(self.norm3(x)).add_(x)
