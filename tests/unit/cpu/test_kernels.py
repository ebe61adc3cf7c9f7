"""Other kernels for AMD processors: the same values, and only where they are taken."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from support.models import relative_l2, rnd

from hummingbird_core.cpu import kernels as cpu_kernels
from hummingbird_core.cpu.kernels import Products, attention, linear
from hummingbird_core.cpu.layers import FastLinear

ROUNDING = 1e-5
BF16 = 1e-2  # relative L2 of one attention in bfloat16

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN"
)


@pytest.fixture
def amd(monkeypatch):
    """Takes this processor for one of AMD; its own kernels run all the same."""
    found = {"cpu_name": "AMD EPYC", "avx512_f": True, "avx512_bf16": True}
    monkeypatch.setattr(cpu_kernels, "processor", lambda: found)


@pytest.fixture
def intel(monkeypatch):
    found = {"cpu_name": "Intel Xeon", "avx512_f": True, "avx512_bf16": True}
    monkeypatch.setattr(cpu_kernels, "processor", lambda: found)


def differs(got: torch.Tensor, expected: torch.Tensor) -> bool:
    """Return whether another kernel has rounded."""
    return not torch.equal(got, expected)


@torch.no_grad()
@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer(amd, bias):
    x, weight = rnd("x", (2, 3, 100, 96)), rnd("w", (128, 96))
    b = rnd("b", (128,)) if bias else None
    got, expected = linear(x, weight, b), F.linear(x, weight, b)
    assert got.shape == expected.shape
    assert relative_l2(got, expected) <= ROUNDING
    strided = x.transpose(1, 2)
    assert relative_l2(linear(strided, weight, b), F.linear(strided, weight, b)) <= ROUNDING


def test_a_linear_layer_learns(amd):
    layer = FastLinear(96, 96)
    layer(rnd("x", (200, 96))).sum().backward()
    assert layer.weight.grad is not None


@torch.no_grad()
@pytest.mark.parametrize("channels", [96, 512])  # side by side in memory, and one after the other
@pytest.mark.parametrize("places", [1, 128])
def test_products_with_the_same_matrices(amd, channels, places):
    x, matrices = rnd("x", (3, places, channels)), rnd("m", (3, 128, channels))
    products = Products(matrices)
    assert products.interleaved == (channels == 96)
    assert relative_l2(products.multiply(x), x @ matrices.mT) <= ROUNDING


@torch.no_grad()
@pytest.mark.parametrize("rows", [1, 50, 1000])
@pytest.mark.parametrize("keys", [7, 300])
def test_attention_in_parts(amd, monkeypatch, rows, keys):
    monkeypatch.setattr(cpu_kernels, "SCORES", rows * keys)
    q, k, v = rnd("q", (2, 3, 300, 8)), rnd("k", (2, 3, keys, 8)), rnd("v", (2, 3, keys, 8))
    low = [tensor.bfloat16() for tensor in (q, k, v)]
    expected = F.scaled_dot_product_attention(*(tensor.float() for tensor in low))
    got = attention(*low)
    assert got.dtype == torch.bfloat16
    assert relative_l2(got, expected) <= BF16
    assert differs(got, F.scaled_dot_product_attention(*low))


@torch.no_grad()
def test_other_processors_keep_pytorchs_choice(intel):
    x, weight = rnd("x", (200, 96)), rnd("w", (128, 96))
    assert torch.equal(linear(x, weight, None), F.linear(x, weight))
    q = rnd("q", (1, 2, 300, 8)).bfloat16()
    assert torch.equal(attention(q, q, q), F.scaled_dot_product_attention(q, q, q))
    products = Products(rnd("m", (2, 96, 96)))
    assert not products.packed
    assert not products.interleaved
