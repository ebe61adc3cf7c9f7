"""Winograd's convolution: the values of PyTorch's, wherever it is taken."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from support.models import relative_l2, rnd, tiny_vae
from torch import nn

from hummingbird_core.cpu import accelerate_for_cpu, winograd
from hummingbird_core.cpu import kernels as cpu_kernels
from hummingbird_core.cpu.layers import WinogradConv2d, can_fold
from hummingbird_core.cpu.winograd import Before, winograd_conv3x3

ROUNDING = 1e-5


def problem(channels: int, out_channels: int, height: int, width: int) -> tuple:
    x = rnd("x", (2, channels, height, width)).contiguous(memory_format=torch.channels_last)
    weight = rnd("w", (out_channels, channels, 3, 3)) / (3 * channels**0.5)
    return x, weight, rnd("b", (out_channels,))


@torch.no_grad()
@pytest.mark.parametrize(("cpu", "grouped"), [("AMD EPYC", 96), ("AMD EPYC", 0), ("Intel", 0)])
@pytest.mark.parametrize("buffer", [1, 36 * 3 * 8 * 128, winograd.BUFFER])
@pytest.mark.parametrize(("channels", "out_channels"), [(96, 128), (128, 96)])
def test_values_are_those_of_pytorch(channels, out_channels, buffer, cpu, grouped, monkeypatch):
    monkeypatch.setattr(winograd, "BUFFER", buffer)  # 1, 3 and all 7 rows of tiles at a time
    monkeypatch.setattr(cpu_kernels, "processor", lambda: {"cpu_name": cpu, "avx512_f": True})
    monkeypatch.setattr(cpu_kernels, "MAX_GROUPED_CHANNELS", grouped)
    x, weight, bias = problem(channels, out_channels, 28, 32)
    expected = F.conv2d(x, weight, bias, padding=1)
    got = winograd_conv3x3(x, weight, bias)
    assert not torch.equal(got, expected)  # it did go the other way
    assert relative_l2(got, expected) <= ROUNDING
    assert got.stride() == expected.stride()
    without_bias = F.conv2d(x, weight, padding=1)
    assert relative_l2(winograd_conv3x3(x.contiguous(), weight, None), without_bias) <= ROUNDING


@torch.no_grad()
def test_each_image_is_computed_alone():
    x, weight, bias = problem(96, 96, 28, 32)
    assert torch.equal(winograd_conv3x3(x, weight, bias)[1:], winograd_conv3x3(x[1:], weight, bias))


@pytest.mark.parametrize(
    ("channels", "height", "dtype", "grad"),
    [
        (96, 28, torch.float32, True),
        (96, 30, torch.float32, False),
        (96, 28, torch.bfloat16, False),
        (32, 28, torch.float32, False),
        (96, 4, torch.float32, False),
    ],
    ids=["gradients", "odd size", "bfloat16", "few channels", "few pixels"],
)
def test_other_inputs_take_pytorchs_way(channels, height, dtype, grad):
    x, weight, bias = (t.to(dtype) for t in problem(channels, channels, height, 32))
    x = x[:, :, :, :8] if height == 4 else x
    with torch.set_grad_enabled(grad):
        assert torch.equal(winograd_conv3x3(x, weight, bias), F.conv2d(x, weight, bias, padding=1))


@torch.no_grad()
@pytest.mark.parametrize("buffer", [1, 36 * 3 * 128, 36 * 20 * 128], ids=["tile", "part", "rows"])
@pytest.mark.parametrize("in_place", [False, True])
def test_a_norm_with_silu_is_taken_in(buffer, in_place, monkeypatch):
    monkeypatch.setattr(winograd, "BUFFER", buffer)
    layers, x = norm_and_conv(96, 96), problem(96, 96, 28, 32)[0] + 1
    expected = layers[1](F.silu(layers[0](x)))
    before = layers[0](x, folded=True)
    kept = x.clone()
    got = layers[1](x, before=before, into=x if in_place else None)
    assert relative_l2(got, expected) <= ROUNDING
    assert (got.data_ptr() == x.data_ptr()) == in_place
    assert torch.equal(x, kept) != in_place


@torch.no_grad()
def test_a_doubling_is_taken_in():
    conv, x = norm_and_conv(128, 96)[1], problem(128, 96, 14, 10)[0]
    expected = conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
    assert can_fold(conv, x, doubled=True)
    assert not can_fold(conv, x)  # 14 rows are no tiles
    assert relative_l2(conv(x, before=Before(doubled=True)), expected) <= ROUNDING


def norm_and_conv(channels: int, out_channels: int) -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.GroupNorm(4, channels), nn.Conv2d(channels, out_channels, 3, padding=1)
    )
    nn.init.normal_(layers[0].weight)
    nn.init.normal_(layers[0].bias)
    accelerate_for_cpu(layers)
    return layers


@torch.no_grad()
def test_statistics_are_those_of_a_large_mean():
    """Not lost in the difference of two large numbers, as in float32 they would be."""
    norm, x = norm_and_conv(96, 96)[0], problem(96, 96, 28, 32)[0] + 300
    before = norm(x, folded=True)
    folded = before.scale[..., None, None] * x + before.shift[..., None, None]
    exact = F.group_norm(x.double(), 4, norm.weight.double(), norm.bias.double(), norm.eps)
    assert relative_l2(folded, exact) <= 1e-4  # float32 rounds 300 by 3e-5


@torch.no_grad()
def test_a_model_keeps_its_weights():
    vae = tiny_vae(96, 96)
    weights = vae.state_dict()
    z = rnd("z", (1, 4, 16, 16))
    expected = vae.decode(z).sample
    accelerate_for_cpu(vae)
    assert {key: value.data_ptr() for key, value in vae.state_dict().items()} == {
        key: value.data_ptr() for key, value in weights.items()
    }
    assert type(vae.decoder.conv_in) is not nn.Conv2d
    assert type(vae.decoder.mid_block.resnets[0].conv1) is not nn.Conv2d
    got = vae.decode(z).sample
    assert not torch.equal(got, expected)
    assert relative_l2(got, expected) <= ROUNDING


@torch.no_grad()
@pytest.mark.parametrize("settings", [{"kernel_size": 1}, {"kernel_size": 3, "stride": 2}])
def test_other_layers_of_its_class_stay_what_they_are(settings):
    torch.manual_seed(0)
    ours = WinogradConv2d(96, 96, **settings)
    expected = nn.Conv2d(96, 96, **settings)
    expected.load_state_dict(ours.state_dict())
    x = rnd("x", (1, 96, 32, 32))
    assert torch.equal(ours(x), expected(x))
