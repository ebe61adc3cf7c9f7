"""Workarounds for slow kernel selection in PyTorch on AMD CPUs.

PyTorch multiplies float32 matrices with MKL, which uses AVX-512 on Intel processors only. oneDNN,
which PyTorch uses for its `to_mkldnn` tensors and for bfloat16, has AVX-512 everywhere and is about
twice as fast on AMD. Other processors, GPUs, training and torch.compile keep PyTorch's choice.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# A smaller product costs less than its copies to oneDNN and back.
MIN_ROWS, MIN_CHANNELS = 128, 96
MIN_ROWS_PACKED = 48  # if the matrix is copied only once
MAX_GROUPED_CHANNELS = 384  # beyond, oneDNN spends more time on copying matrices than on products
SCORES = 2**21  # entries of the attention matrix computed at a time: they stay in a CPU's cache
MIN_QUERIES = 256  # shorter attention keeps PyTorch's kernel


@functools.cache
def processor() -> dict[str, Any]:
    """Return PyTorch's description of the CPU; empty in older versions."""
    return dict(getattr(torch.cpu, "get_capabilities", dict)())


def is_amd_with(*features: str) -> bool:
    """Return whether this is an AMD processor with all of these instruction sets."""
    found = processor()
    is_amd = (
        str(found.get("cpu_name", "")).startswith("AMD") and torch.backends.mkldnn.is_available()
    )
    return is_amd and all(found.get(feature) for feature in features)


def _is_inference(x: Tensor, dtype: torch.dtype) -> bool:
    if x.device.type != "cpu" or x.dtype != dtype:
        return False
    return not (torch.is_grad_enabled() or torch.compiler.is_compiling())


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Drop-in replacement for `F.linear`.

    Args:
        x: `[..., C]`.
        weight: `[K, C]`.
        bias: `[K]` or None.

    Returns:
        x W^T + b, `[..., K]`.
    """
    if not (_is_inference(x, torch.float32) and is_amd_with("avx512_f") and _is_large(x, weight)):
        return F.linear(x, weight, bias)
    rows = x.flatten(0, -2).to_mkldnn()  # [..., C] -> [N, C]
    y = F.linear(rows, weight.to_mkldnn(), None if bias is None else bias.to_mkldnn())
    return y.to_dense().view(*x.shape[:-1], len(weight))  # [N, K] -> [..., K]


def _is_large(x: Tensor, weight: Tensor) -> bool:
    rows = x.numel() // max(1, x.shape[-1])
    return weight.dtype == x.dtype and rows >= MIN_ROWS and min(weight.shape) >= MIN_CHANNELS


class Products:
    """Repeated batched products with the same float32 matrices `[N, K, C]`.

    Attributes:
        matrices: `[N, K, C]`.
        interleaved: whether the fast kernel expects x in memory as `[P, N, C]`, all N rows of one
            position side by side.
        packed: the matrices in oneDNN's layout, where that kernel is used.
    """

    def __init__(self, matrices: Tensor):
        self.matrices = matrices
        fast = is_amd_with("avx512_f")
        self.interleaved = fast and matrices.shape[-1] <= MAX_GROUPED_CHANNELS
        self.packed = [m.to_mkldnn() for m in matrices] if fast and not self.interleaved else []

    def multiply(self, x: Tensor) -> Tensor:
        """Return x_n W_n^T for every n: `[N, P, C]` -> `[N, P, K]`."""
        if self.interleaved:
            return self._as_grouped_convolution(x)
        if not self.packed or x.shape[1] < MIN_ROWS_PACKED:
            return torch.bmm(x, self.matrices.mT)
        y = x.new_empty(*x.shape[:2], self.matrices.shape[1])
        for rows, matrix, result in zip(x, self.packed, y, strict=True):
            result.copy_(F.linear(rows.to_mkldnn(), matrix).to_dense())
        return y

    def _as_grouped_convolution(self, x: Tensor) -> Tensor:
        """Multiply by a 1x1 convolution of N groups, which oneDNN computes without copies."""
        rows = x.transpose(0, 1).flatten(1)  # [N, P, C] -> [P, N*C]
        # [1, P, 1, N*C] -> [1, N*C, P, 1], in channels-last memory
        image = rows[None, :, None].permute(0, 3, 1, 2)
        kernel = self.matrices.flatten(0, 1)[:, :, None, None]  # [N, K, C] -> [N*K, C, 1, 1]
        y = F.conv2d(image, kernel, groups=len(x))
        # [1, N*K, P, 1] -> [N*K, P] -> [N, K, P] -> [N, P, K]
        return y[0, :, :, 0].unflatten(0, (len(x), -1)).transpose(1, 2)


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return softmax(q k^T / sqrt(d)) v; drop-in replacement for `F.scaled_dot_product_attention`.

    PyTorch's fused kernel has no fast bfloat16 products without AMX. This one multiplies with
    oneDNN, some queries of a head at a time, so that the attention matrix never exists whole.

    Args:
        q: queries `[B, heads, N, d]`.
        k: keys `[B, heads, M, d]`.
        v: values `[B, heads, M, d]`.

    Returns:
        `[B, heads, N, d]`.
    """
    is_long = q.shape[-2] >= MIN_QUERIES
    if not (is_long and _is_inference(q, torch.bfloat16) and is_amd_with("avx512_bf16")):
        return F.scaled_dot_product_attention(q, k, v)
    out = torch.empty_like(q, memory_format=torch.contiguous_format)
    scale = q.shape[-1] ** -0.5
    for video in range(len(q)):
        for head in range(q.shape[1]):
            keys, values = k[video, head].t() * scale, v[video, head]  # [d, M], [M, d]
            queries, result = q[video, head], out[video, head]  # [N, d], [N, d]
            rows = max(1, SCORES // len(values))
            for part, place in zip(queries.split(rows), result.split(rows), strict=True):
                place.copy_((part @ keys).softmax(dim=-1) @ values)
    return out
