"""Video Swin Transformer (arXiv 2106.13230) with the gated position biases of FAST-VQA.

DOVER's technical branch. Its input is a mosaic of fragments, so that neighboring tokens may come
from distant regions of the video: pairs within one fragment and pairs across fragments have
separate position biases (gated relative position biases, arXiv 2207.02595, section 3.2).

Shapes: B videos, T x H x W tokens, C channels, N windows of L tokens, h heads of d channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

Size = tuple[int, int, int]  # (frames, rows, columns) in tokens

SWIN_PATCH: Size = (2, 4, 4)  # frames, rows and columns of a token
SWIN_WINDOW: Size = (8, 7, 7)  # tokens of a window, which attend to each other
MLP_RATIO = 4
WINDOWS_AT_ONCE = 16  # biases of 16 windows take 30 MB for 3 heads, those of a clip 0.25 GB


@dataclass(frozen=True)
class SwinConfig:
    """Size of a Video Swin Transformer; the defaults are Swin-T with DOVER's fragments."""

    width: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (3, 6, 12, 24)
    gated_stages: tuple[int, ...] = (0, 1, 2)
    fragments: int = 7
    """Fragments along each side of the mosaic."""


class Swin3D(nn.Module):
    """A Swin transformer that maps a video to features.

    `[B, 3, T, H, W] -> [B, 8 * width, T/2, H/32, W/32]`, each size rounded up.
    """

    def __init__(self, config: SwinConfig):
        super().__init__()
        self.patch_embed = PatchEmbed(config.width)
        last = len(config.depths) - 1
        self.layers = nn.ModuleList(
            SwinStage(
                width=config.width << index,
                depth=config.depths[index],
                heads=config.heads[index],
                fragments=config.fragments if index in config.gated_stages else None,
                has_downsample=index < last,
            )
            for index in range(len(config.depths))
        )
        self.norm = nn.LayerNorm(config.width << last)

    def forward(self, video: Tensor) -> Tensor:
        """Return the features of pixels `[B, 3, T, H, W]`."""
        x = self.patch_embed(video)
        for layer in self.layers:
            x = layer(x)
        return rearrange(self.norm(x), "b t h w c -> b c t h w")


class PatchEmbed(nn.Module):
    """Patch embedding, `[B, 3, T, H, W] -> [B, T/2, H/4, W/4, C]`, sizes rounded up."""

    def __init__(self, width: int):
        super().__init__()
        self.proj = nn.Conv3d(3, width, kernel_size=SWIN_PATCH, stride=SWIN_PATCH)
        self.norm = nn.LayerNorm(width)

    def forward(self, video: Tensor) -> Tensor:
        """Embed pixels `[B, 3, T, H, W]`, zero-padded to whole patches."""
        t, h, w = (-size % patch for size, patch in zip(video.shape[2:], SWIN_PATCH, strict=True))
        x = self.proj(F.pad(video, (0, w, 0, h, 0, t)))
        return self.norm(rearrange(x, "b c t h w -> b t h w c"))


class SwinStage(nn.Module):
    """Blocks with alternating plain and shifted windows, then half the resolution."""

    def __init__(
        self, width: int, depth: int, heads: int, fragments: int | None, has_downsample: bool
    ):
        super().__init__()
        self.blocks = nn.ModuleList(
            SwinBlock(width, heads, fragments, is_shifted=index % 2 == 1) for index in range(depth)
        )
        self.downsample = PatchMerging(width) if has_downsample else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Apply the stage to `[B, T, H, W, C]`; all but the last give `[B, T, H/2, W/2, 2 C]`."""
        for block in self.blocks:
            x = block(x)
        return self.downsample(x)


class PatchMerging(nn.Module):
    """Merging of 2 x 2 tokens, `[B, T, H, W, C] -> [B, T, H/2, W/2, 2 C]`, sizes rounded up."""

    def __init__(self, width: int):
        super().__init__()
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)
        self.norm = nn.LayerNorm(4 * width)

    def forward(self, x: Tensor) -> Tensor:
        """Merge the tokens of `[B, T, H, W, C]`."""
        x = F.pad(x, (0, 0, 0, x.shape[3] % 2, 0, x.shape[2] % 2))
        # The checkpoint's order of the four tokens: columns outside, rows inside.
        x = rearrange(x, "b t (h i) (w j) c -> b t h w (j i c)", i=2, j=2)
        return self.reduction(self.norm(x))


class SwinBlock(nn.Module):
    """Window attention and an MLP, each with a pre-norm and a residual; keeps `[B, T, H, W, C]`."""

    def __init__(self, width: int, heads: int, fragments: int | None, is_shifted: bool):
        super().__init__()
        self.fragments, self.is_shifted = fragments, is_shifted
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, heads, is_gated=fragments is not None)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLP(width)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to `[B, T, H, W, C]`."""
        x = x + self._attend(self.norm1(x))
        return x + self.mlp(self.norm2(x))

    def _attend(self, x: Tensor) -> Tensor:
        """Pad to whole windows, shift, attend within windows and undo both: `[B, T, H, W, C]`."""
        size: Size = (x.shape[1], x.shape[2], x.shape[3])
        window, shift = window_and_shift(size, self.is_shifted)
        t, h, w = (-length % cut for length, cut in zip(size, window, strict=True))
        x = F.pad(x, (0, 0, 0, w, 0, h, 0, t))
        padded: Size = (x.shape[1], x.shape[2], x.shape[3])
        x = x.roll([-s for s in shift], dims=(1, 2, 3))
        x = self.attn(split_windows(x, window), *self._labels(padded, window, shift, x.device))
        x = join_windows(x, window, padded).roll(shift, dims=(1, 2, 3))
        return x[:, : size[0], : size[1], : size[2]]

    def _labels(
        self, size: Size, window: Size, shift: Size, device: torch.device
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return fragment `[N, L, 2]` and region `[N, L]` of each token; None if unused."""
        fragments = regions = None
        if self.fragments:
            places = fragment_places(size, self.fragments)
            places = places.roll([-s for s in shift], dims=(0, 1, 2))
            fragments = split_windows(places[None], window)[0].to(device)
        if any(shift):
            labels = region_labels(size, window, shift)
            regions = split_windows(labels[None, ..., None], window)[0, ..., 0].to(device)
        return fragments, regions


class MLP(nn.Module):
    """A two-layer MLP on each token."""

    def __init__(self, width: int):
        super().__init__()
        self.fc1 = nn.Linear(width, MLP_RATIO * width)
        self.fc2 = nn.Linear(MLP_RATIO * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the MLP to `[..., C]`."""
        return self.fc2(F.gelu(self.fc1(x)))


class WindowAttention(nn.Module):
    """Self-attention within windows, with a learned bias for each relative position."""

    relative_position_index: Tensor

    def __init__(self, width: int, heads: int, is_gated: bool):
        super().__init__()
        self.heads = heads
        offsets = prod(2 * length - 1 for length in SWIN_WINDOW)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(offsets, heads))
        if is_gated:
            self.fragment_position_bias_table = nn.Parameter(torch.zeros(offsets, heads))
        self.register_buffer("relative_position_index", relative_position_index())
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, fragments: Tensor | None, regions: Tensor | None) -> Tensor:
        """Attend within windows.

        Args:
            x: `[B, N, L, C]`.
            fragments: row and column of each token's fragment, `[N, L, 2]`; None: the biases are
                not gated.
            regions: `[N, L]`; only tokens of one region attend to each other. None: all do.

        Returns:
            `[B, N, L, C]`.
        """
        qkv = self.qkv(x)  # [B, N, L, 3 C] -> 3 x [B, N, h, L, d]
        q, k, v = rearrange(qkv, "b n l (three h d) -> three b n h l d", three=3, h=self.heads)
        out = torch.empty_like(q)
        for start in range(0, x.shape[1], WINDOWS_AT_ONCE):
            some = slice(start, start + WINDOWS_AT_ONCE)
            bias = self._bias(
                x.shape[2],
                fragments if fragments is None else fragments[some],
                regions if regions is None else regions[some],
            )
            for b in range(len(x)):
                out[b, some] = F.scaled_dot_product_attention(
                    q[b, some], k[b, some], v[b, some], attn_mask=bias
                )
        return self.proj(rearrange(out, "b n h l d -> b n l (h d)"))

    def _bias(self, tokens: int, fragments: Tensor | None, regions: Tensor | None) -> Tensor:
        """Return the bias of the attention scores, `[N or 1, h, L, L]`."""
        # Small videos have smaller windows. The first rows of the full window's index are not their
        # relative positions, but the released weights were trained with them.
        index = self.relative_position_index[:tokens, :tokens]
        bias = rearrange(self.relative_position_bias_table[index], "i j h -> 1 h i j")
        if fragments is not None:
            within = rearrange(self.fragment_position_bias_table[index], "i j h -> 1 h i j")
            # The paper's gate g is 0 within a fragment and 1 across. The released weights use this
            # Manhattan distance instead, 2 for fragments that touch at a corner: [N, 1, L, L].
            # bias = (1 - g) within + g across
            gate = (fragments[:, :, None] - fragments[:, None]).abs().sum(-1)[:, None]
            bias = within + gate * (bias - within)
        if regions is not None:
            apart = (regions[:, :, None] != regions[:, None])[:, None]
            bias = bias.masked_fill(apart, float("-inf"))
        return bias


def window_and_shift(size: Size, is_shifted: bool) -> tuple[Size, Size]:
    """Return window and shift for a video of `size` tokens; no window exceeds the video."""
    window = tuple(min(length, full) for length, full in zip(size, SWIN_WINDOW, strict=True))
    shift = tuple(
        full // 2 if is_shifted and length > full else 0
        for length, full in zip(size, SWIN_WINDOW, strict=True)
    )
    return window, shift  # type: ignore[return-value]


def split_windows(x: Tensor, window: Size) -> Tensor:
    """Split into windows: `[B, T, H, W, C] -> [B, N, L, C]`."""
    t, h, w = window
    return rearrange(x, "b (nt t) (nh h) (nw w) c -> b (nt nh nw) (t h w) c", t=t, h=h, w=w)


def join_windows(x: Tensor, window: Size, size: Size) -> Tensor:
    """Join windows, the inverse of `split_windows`: `[B, N, L, C] -> [B, T, H, W, C]`."""
    counts = {f"n{axis}": n // w for axis, n, w in zip("thw", size, window, strict=True)}
    t, h, w = window
    return rearrange(
        x, "b (nt nh nw) (t h w) c -> b (nt t) (nh h) (nw w) c", t=t, h=h, w=w, **counts
    )


def relative_position_index() -> Tensor:
    """Return the row of the bias table for each pair of tokens of a full window, `[392, 392]`."""
    axes = torch.meshgrid(*(torch.arange(length) for length in SWIN_WINDOW), indexing="ij")
    places = torch.stack(axes).flatten(1)  # [3, L]
    t, h, w = (places[:, :, None] - places[:, None, :]).unbind()
    rows, columns = 2 * SWIN_WINDOW[1] - 1, 2 * SWIN_WINDOW[2] - 1
    t, h, w = t + SWIN_WINDOW[0] - 1, h + SWIN_WINDOW[1] - 1, w + SWIN_WINDOW[2] - 1
    return (t * rows + h) * columns + w


def fragment_places(size: Size, fragments: int) -> Tensor:
    """Return the row and column of each token's fragment, `[T, H, W, 2]`.

    Along a side of n tokens a fragment has n / `fragments` of them, rounded up: where tokens are
    fewer than fragments, each is a fragment by itself.
    """
    rows, columns = (torch.arange(n) // -(-n // fragments) for n in size[1:])
    places = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1)
    return places.expand(*size, 2)


def region_labels(size: Size, window: Size, shift: Size) -> Tensor:
    """Label regions of tokens that are contiguous before the cyclic shift, `[T, H, W]`.

    Along each axis there are up to three: the windows before the last, and the two parts of the
    last window that the roll brings together from both ends.
    """
    labels = torch.zeros(size, dtype=torch.long)
    for axis, (length, cut, moved) in enumerate(zip(size, window, shift, strict=True)):
        place = torch.arange(length)
        region = (place >= length - cut).long() + (place >= length - moved).long() * (moved > 0)
        labels = 3 * labels + region.reshape([-1 if axis == a else 1 for a in range(3)])
    return labels
