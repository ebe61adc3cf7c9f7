"""Subclasses of PyTorch's layers that call the faster kernels, and the pass that installs them.

Features are `[B, C, H, W]`.
"""

from __future__ import annotations

import functools
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from .kernels import linear
from .winograd import Before, convolve, fold_group_norm, is_worthwhile, winograd_conv3x3


def accelerate_for_cpu(model: nn.Module, *, linear_layers: bool = True) -> None:
    """Give the layers of a finished model the subclasses in this file, in place.

    Convolutions get a subclass of the class they have, so that a library whose layers cast or
    offload weights keeps its say. `nn.Linear` and `nn.GroupNorm` change only where they are
    PyTorch's own.

    Args:
        model: any model; keys of its state dict, weights and hooks stay the same.
        linear_layers: whether `nn.Linear` is replaced, too. The VAE keeps its own: it has four, and
            another kernel would round differently.
    """
    for layer in model.modules():
        if linear_layers or type(layer) is not nn.Linear:
            layer.__class__ = _fast_class(layer)


def _fast_class(layer: nn.Module) -> Any:
    """Return the subclass for a layer, or the class it has if there is none."""
    given: Any = type(layer)
    if given is nn.Linear:
        return FastLinear
    if type(layer) is nn.GroupNorm and layer.affine:
        return FoldingNorm
    if isinstance(layer, nn.Conv2d) and _is_same_3x3(layer):
        return _mixed(WinogradConv2d, given)
    if isinstance(layer, nn.Conv3d) and _is_temporal(layer):
        return _mixed(TemporalConv3d, given)
    return given


@functools.cache
def _mixed(fast: Any, given: Any) -> Any:
    """Return a class that is both; `fast` itself where `given` is the PyTorch class below it."""
    if issubclass(given, fast):
        return given
    return fast if given is fast.__base__ else type(fast.__name__, (fast, given), {})


class FastLinear(nn.Linear):
    """A linear layer that calls `kernels.linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x W^T + b: `[..., C]` -> `[..., K]`."""
        return linear(x, self.weight, self.bias)


class WinogradConv2d(nn.Conv2d):
    """A Conv2d that uses the Winograd algorithm if it is 3x3, keeps the size and is large.

    peft builds the 1x1 layers of a LoRA from the class of the layer they adapt, so every kernel
    size must work.
    """

    def forward(  # type: ignore[override]
        self, x: Tensor, *args: Any, before: Before | None = None, **kwargs: Any
    ) -> Any:
        """Convolve `[B, C, H, W]`; `before` (allowed where `can_fold`) is applied to `x` first."""
        if before is None:
            return super().forward(x, *args, **kwargs)
        return convolve(x, self.weight, self.bias, before, **kwargs)

    def _conv_forward(  # type: ignore[override]
        self, x: Tensor, weight: Tensor, bias: Tensor | None, *args: Any, **kwargs: Any
    ) -> Tensor:
        if _is_same_3x3(self):
            return winograd_conv3x3(x, weight, bias)
        return super()._conv_forward(x, weight, bias, *args, **kwargs)


class TemporalConv3d(nn.Conv3d):
    """A Conv3d of kernel (k, 1, 1) that convolves `[B, C, T, S, 1]` as an image of time by space.

    PyTorch has faster kernels for 2-D convolutions on every device. Weights stay 3-D.
    """

    def _conv_forward(  # type: ignore[override]
        self, x: Tensor, weight: Tensor, bias: Tensor | None, *args: Any, **kwargs: Any
    ) -> Tensor:
        if x.shape[-1] != 1:
            return super()._conv_forward(x, weight, bias, *args, **kwargs)
        # x [B, C, T, S, 1] -> [B, C, T, S]; weight [K, C, k, 1, 1] -> [K, C, k, 1]
        y = F.conv2d(x.squeeze(-1), weight.squeeze(-1), bias, padding=self.padding[:2])
        return y.unsqueeze(-1)  # [B, K, T, S] -> [B, K, T, S, 1]


class FoldingNorm(nn.GroupNorm):
    """A GroupNorm whose arithmetic the convolution after it can do."""

    def forward(self, x: Tensor, *, folded: bool = False) -> Any:
        """Return the normalized `x`, or if `folded` what makes a convolution normalize it."""
        if not folded:
            return super().forward(x)
        return fold_group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


def can_fold(conv: Any, x: Tensor, *, doubled: bool = False) -> bool:
    """Return whether `conv(x, before=...)` works for this input and saves time."""
    if type(conv) is not WinogradConv2d or not _is_same_3x3(conv):
        return False
    return is_worthwhile(x, conv.out_channels, 2 if doubled else 1)


def _is_same_3x3(conv: nn.Conv2d) -> bool:
    """Return whether `winograd_conv3x3` computes this convolution."""
    is_3x3 = conv.kernel_size == (3, 3) and conv.padding == (1, 1)
    return is_3x3 and (conv.stride, conv.dilation, conv.groups) == ((1, 1), (1, 1), 1)


def _is_temporal(conv: nn.Conv3d) -> bool:
    """Return whether frames are mixed, but no pixels of one frame."""
    spatial = conv.kernel_size[1:], conv.padding[1:]
    plain = conv.stride, conv.dilation, conv.groups
    return spatial == ((1, 1), (0, 0)) and plain == ((1, 1, 1), (1, 1, 1), 1)
