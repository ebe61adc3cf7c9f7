"""The faster of PyTorch's kernels where its own choice is slow: AMD processors.

Products of float32 matrices go to MKL, which leaves AVX-512 to processors of Intel. Those of
oneDNN, which PyTorch takes for its `to_mkldnn` tensors and for bfloat16, use it everywhere and are
about twice as fast there. Other processors, GPUs, training and torch.compile keep PyTorch's choice.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MIN_ROWS, MIN_CHANNELS = 128, 96  # of a product: copies to oneDNN and back cost more for less
MIN_ROWS_PACKED = 48  # where the matrix is copied once only
MAX_GROUPED_CHANNELS = 384  # with more, oneDNN copies the matrices for longer than it multiplies
SCORES = 2**21  # of an attention matrix at a time: what stays in a CPU's cache
MIN_QUERIES = 256


@functools.cache
def processor() -> dict[str, Any]:
    """What PyTorch says of the CPU; older versions say nothing."""
    return dict(getattr(torch.cpu, "get_capabilities", dict)())


def is_amd_with(*features: str) -> bool:
    """Whether this is a processor of AMD that has all of these."""
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
    """As `F.linear`."""
    if not (_is_inference(x, torch.float32) and is_amd_with("avx512_f") and _is_large(x, weight)):
        return F.linear(x, weight, bias)
    rows = x.flatten(0, -2).to_mkldnn()
    y = F.linear(rows, weight.to_mkldnn(), None if bias is None else bias.to_mkldnn())
    return y.to_dense().view(*x.shape[:-1], len(weight))


def _is_large(x: Tensor, weight: Tensor) -> bool:
    rows = x.numel() // max(1, x.shape[-1])
    return weight.dtype == x.dtype and rows >= MIN_ROWS and min(weight.shape) >= MIN_CHANNELS


class Linear(nn.Linear):
    """A linear layer by `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def linear_class(given: type[nn.Linear]) -> type[nn.Linear]:
    """Ours in the place of PyTorch's; one that casts or offloads stays."""
    return Linear if given is nn.Linear else given


class Products:
    """Products with the same matrices `[N, K, C]`, float32, again and again.

    Attributes:
        interleaved: whether the fast way wants all N rows of a place side by side in memory.
    """

    def __init__(self, matrices: Tensor):
        self.matrices = matrices
        fast = is_amd_with("avx512_f")
        self.interleaved = fast and matrices.shape[-1] <= MAX_GROUPED_CHANNELS
        self.packed = [m.to_mkldnn() for m in matrices] if fast and not self.interleaved else []

    def multiply(self, x: Tensor) -> Tensor:
        """`[N, P, C]` times the transposed matrices, `[N, P, K]`."""
        if self.interleaved:
            return self._as_grouped_convolution(x)
        if not self.packed or x.shape[1] < MIN_ROWS_PACKED:
            return torch.bmm(x, self.matrices.mT)
        y = x.new_empty(*x.shape[:2], self.matrices.shape[1])
        for rows, matrix, result in zip(x, self.packed, y, strict=True):
            result.copy_(F.linear(rows.to_mkldnn(), matrix).to_dense())
        return y

    def _as_grouped_convolution(self, x: Tensor) -> Tensor:
        """By a convolution of 1x1 with N groups, which oneDNN makes without copies."""
        rows = x.transpose(0, 1).flatten(1)  # [P, N*C]
        image = rows[None, :, None].permute(0, 3, 1, 2)  # [1, N*C, P, 1], in channels-last memory
        kernel = self.matrices.flatten(0, 1)[:, :, None, None]  # [N*K, C, 1, 1]
        y = F.conv2d(image, kernel, groups=len(x))
        return y[0, :, :, 0].unflatten(0, (len(x), -1)).transpose(1, 2)  # [N, P, K]


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Softmax(q k^T / sqrt(d)) v on `[B, heads, tokens, d]`, as `F.scaled_dot_product_attention`.

    PyTorch's fused kernel has no fast bfloat16 products without AMX. Here they are ordinary ones,
    for a part of a head at a time, so that the attention matrix never exists whole.
    """
    is_long = q.shape[-2] >= MIN_QUERIES
    if not (is_long and _is_inference(q, torch.bfloat16) and is_amd_with("avx512_bf16")):
        return F.scaled_dot_product_attention(q, k, v)
    out = torch.empty_like(q, memory_format=torch.contiguous_format)
    scale = q.shape[-1] ** -0.5
    for video in range(len(q)):
        for head in range(q.shape[1]):
            keys, values = k[video, head].t() * scale, v[video, head]
            queries, result = q[video, head], out[video, head]
            rows = max(1, SCORES // len(values))
            for part, place in zip(queries.split(rows), result.split(rows), strict=True):
                place.copy_((part @ keys).softmax(dim=-1) @ values)
    return out
