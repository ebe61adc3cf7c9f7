"""The arithmetic of modules is counted whole, and compared with the machine's peak."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from hummingbird_core.bench import modules
from hummingbird_core.bench.measure import Repeats
from hummingbird_core.bench.models import BenchConfig
from hummingbird_core.bench.roofline import GIGA, count_gflop, gemm_peak


def test_products_and_convolutions_are_counted():
    x, weight, kernel = torch.ones(4, 8), torch.ones(16, 8), torch.ones(5, 3, 3, 3)
    image = torch.ones(2, 3, 6, 6)

    def compute() -> torch.Tensor:
        F.conv2d(image, kernel, padding=1)
        return torch.einsum("nid,njd->nij", F.linear(x, weight)[None], torch.ones(1, 7, 16))

    convolution = 2 * (2 * 5 * 6 * 6) * (3 * 3 * 3)
    products = 2 * 4 * 8 * 16 + 2 * 4 * 7 * 16
    assert count_gflop(compute) * GIGA == pytest.approx(convolution + products)


def test_the_table_of_modules_shows_their_share_of_the_peak():
    config = BenchConfig(height=32, width=32, frames=(2,))
    rows = modules.report(config, Repeats(1, 0), "a command").rows
    assert rows[0]["module"] == "GEMM"
    whole = [row for row in rows if row["module"] in modules.WHOLE]
    assert [row["module"] for row in whole] == list(modules.WHOLE)
    for row in whole:
        assert row["peak share"] == pytest.approx(row["GFLOP/s"] / rows[0]["GFLOP/s"])
    others = [row for row in rows[1:] if row["module"] not in modules.WHOLE]
    assert others
    assert all("peak share" not in row for row in others)


def test_the_peak_is_that_of_the_fastest_product():
    assert 0.01 < gemm_peak(torch.float32, seconds=0) < 1e6
