"""The pass over a finished model: which layers change, and what stays as it was."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from support.models import relative_l2, rnd
from torch import nn

from hummingbird_core.cpu import accelerate_for_cpu
from hummingbird_core.cpu.layers import FastLinear, FoldingNorm, TemporalConv3d, WinogradConv2d

ROUNDING = 1e-5


def model(linear=nn.Linear, conv2d=nn.Conv2d, conv3d=nn.Conv3d) -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict(
        {
            "linear": linear(8, 8),
            "norm": nn.GroupNorm(2, 8),
            "same": conv2d(8, 8, 3, padding=1),
            "halving": conv2d(8, 8, 3, padding=1, stride=2),
            "pointwise": conv2d(8, 8, 1),
            "temporal": conv3d(8, 8, (3, 1, 1), padding=(1, 0, 0)),
            "cube": conv3d(8, 8, 3, padding=1),
        }
    )


def test_layers_with_a_faster_kernel_change_their_class():
    layers = model()
    accelerate_for_cpu(layers)
    assert {name: type(layer) for name, layer in layers.items()} == {
        "linear": FastLinear,
        "norm": FoldingNorm,
        "same": WinogradConv2d,
        "halving": nn.Conv2d,
        "pointwise": nn.Conv2d,
        "temporal": TemporalConv3d,
        "cube": nn.Conv3d,
    }


def test_linear_layers_can_stay():
    layers = model()
    accelerate_for_cpu(layers, linear_layers=False)
    assert type(layers["linear"]) is nn.Linear
    assert type(layers["same"]) is WinogradConv2d


def test_weights_names_and_hooks_stay():
    layers = model().eval()
    seen = []
    layers["same"].register_forward_hook(lambda *_: seen.append("same"))
    before = dict(layers.named_parameters())
    accelerate_for_cpu(layers)
    after = dict(layers.named_parameters())
    assert list(after) == list(before)
    assert all(after[name] is before[name] for name in before)
    assert not layers["same"].training
    layers["same"](rnd("x", (1, 8, 4, 4)))
    assert seen == ["same"]


def test_a_second_pass_changes_nothing():
    layers = model()
    accelerate_for_cpu(layers)
    once = [type(layer) for layer in layers.values()]
    accelerate_for_cpu(layers)
    assert [type(layer) for layer in layers.values()] == once


def test_layers_that_cast_or_offload_keep_doing_so():
    class Casting:
        """In the manner of comfy.ops: weights are cast on the way into the convolution."""

        calls = 0

        def forward(self, x):
            Casting.calls += 1
            return self._conv_forward(x, self.weight.to(x.dtype), self.bias.to(x.dtype))

    class CastingLinear(nn.Linear):
        pass

    class CastingConv2d(Casting, nn.Conv2d):
        pass

    class CastingConv3d(Casting, nn.Conv3d):
        pass

    layers = model(CastingLinear, CastingConv2d, CastingConv3d)
    accelerate_for_cpu(layers)
    assert type(layers["linear"]) is CastingLinear
    assert isinstance(layers["same"], WinogradConv2d)
    assert isinstance(layers["same"], CastingConv2d)
    assert type(layers["pointwise"]) is CastingConv2d
    assert isinstance(layers["temporal"], CastingConv3d)
    layers.bfloat16()
    assert layers["same"](rnd("x", (1, 8, 4, 4))).dtype == torch.float32
    assert layers["temporal"](rnd("x", (1, 8, 3, 4, 1))).dtype == torch.float32
    assert Casting.calls == 2


def test_a_temporal_convolution_equals_that_of_pytorch():
    expected, layers = model()["temporal"], model()
    accelerate_for_cpu(layers)
    for shape in ((2, 8, 5, 12, 1), (2, 8, 5, 3, 4)):
        x = rnd("x", shape)
        assert relative_l2(layers["temporal"](x), expected(x)) <= ROUNDING


@pytest.mark.parametrize("copied", ["deepcopy", "pickle"])
def test_models_can_be_copied_and_pickled(copied):
    layers = model()
    accelerate_for_cpu(layers)
    if copied == "deepcopy":
        again = copy.deepcopy(layers)
    else:
        buffer = io.BytesIO()
        torch.save(layers, buffer)
        again = torch.load(io.BytesIO(buffer.getvalue()), weights_only=False)
    x = rnd("x", (1, 8, 4, 4))
    assert torch.equal(again["same"](x), layers["same"](x))
