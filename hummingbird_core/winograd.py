"""3x3 convolutions with a quarter of the multiplications, for CPUs.

Winograd's F(4x4, 3x3) (Lavin and Gray, arXiv 1509.09308, section 4): 36 products give a 4x4 tile of
outputs, instead of 144. Tiles of input, kernel and output are transformed by small matrices, and
what lies between is one large matrix product. The values are those of `F.conv2d` but for rounding:
relative L2 some 3e-6. For kernels of 3x1, where half of the products remain, it gains nothing.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

OUTPUTS, TILE = 4, 6  # along one axis


def _for_both_axes(rows: list[list[float]]) -> Tensor:
    matrix = torch.tensor(rows)
    return torch.kron(matrix, matrix)


INPUT_TRANSFORM = _for_both_axes([  # [36, 36]
    [4.0, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
])  # fmt: skip
KERNEL_TRANSFORM = _for_both_axes([  # [36, 9]
    [1 / 4, 0, 0],
    [-1 / 6, -1 / 6, -1 / 6],
    [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6],
    [1 / 24, -1 / 12, 1 / 6],
    [0, 0, 1],
])  # fmt: skip
OUTPUT_TRANSFORM = _for_both_axes([  # [16, 36]
    [1.0, 1, 1, 1, 1, 0],
    [0, 1, -1, 2, -2, 0],
    [0, 1, 1, 4, 4, 0],
    [0, 1, -1, 8, -8, 1],
])  # fmt: skip

MIN_CHANNELS = 96  # with fewer, transforming costs more than it saves
BUFFER = 2_000_000  # numbers in a buffer of tiles: what stays in a CPU's cache


def use_fast_convolutions(model: nn.Module) -> None:
    """Makes every 3x3 convolution in `model` that keeps the size one of `spatial_conv_class`.

    Weights stay the same tensors under the same names.
    """
    for module in model.modules():
        for name, conv in module.named_children():
            if isinstance(conv, nn.Conv2d) and _is_ours(conv):
                kind: Any = type(conv)
                with torch.device("meta"):
                    fast = spatial_conv_class(kind)(
                        conv.in_channels, conv.out_channels, 3, padding=1
                    )
                fast.weight, fast.bias = conv.weight, conv.bias
                setattr(module, name, fast)


def _is_ours(conv: nn.Conv2d) -> bool:
    """Whether it is one of `conv3x3`."""
    is_3x3 = conv.kernel_size == (3, 3) and conv.padding == (1, 1)
    return is_3x3 and (conv.stride, conv.dilation, conv.groups) == ((1, 1), (1, 1), 1)


@functools.cache
def spatial_conv_class(conv2d: type[nn.Conv2d]) -> type[nn.Conv2d]:
    """A Conv2d that takes the faster way for its input if it is 3x3 and keeps the size.

    It stays a `conv2d` subclass, so that weight casting, offload and LoRA of whoever provides the
    class go on working. (peft makes the 1x1 layers of a LoRA of the class that they stand beside.)
    """

    class SpatialConv(conv2d):  # type: ignore[valid-type, misc]
        def _conv_forward(
            self, x: Tensor, weight: Tensor, bias: Tensor | None, *args: Any, **kwargs: Any
        ) -> Tensor:
            if _is_ours(self):
                return conv3x3(x, weight, bias)
            return super()._conv_forward(x, weight, bias, *args, **kwargs)

    return SpatialConv


def conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`F.conv2d` with one row of zeros around, by the faster way for this input.

    Args:
        x: `[B, C, H, W]`, best in channels-last memory, which the result then has, too.
        weight: `[K, C, 3, 3]`.
        bias: `[K]`.
    """
    if not _pays(x, weight):
        return F.conv2d(x, weight, bias, padding=1)
    batch, _, height, width = x.shape
    y = x.new_empty(batch, height, width, len(weight))
    _convolve(x.permute(0, 2, 3, 1), weight.permute(2, 3, 1, 0), y)
    y = y.permute(0, 3, 1, 2)  # [B, H, W, K] -> [B, K, H, W]
    return y if bias is None else y.add_(bias[:, None, None])


def _pays(x: Tensor, weight: Tensor) -> bool:
    if x.device.type != "cpu" or x.dtype != torch.float32 or weight.dtype != torch.float32:
        return False
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return False
    batch, channels, height, width = x.shape
    tiles = batch * height * width // OUTPUTS**2
    # The kernel is transformed in every call: fewer tiles would not be worth it.
    is_large = 2 * tiles >= channels and min(weight.shape[:2]) >= MIN_CHANNELS
    return is_large and height % OUTPUTS == width % OUTPUTS == 0


def _convolve(x: Tensor, weight: Tensor, y: Tensor) -> None:
    """Writes `[B, H, W, C]` convolved with `[3, 3, C, K]` to `y` `[B, H, W, K]`."""
    tiles_down, tiles_across = y.shape[1] // OUTPUTS, y.shape[2] // OUTPUTS
    rows = BUFFER // (TILE**2 * tiles_across * max(x.shape[3], y.shape[3]))
    rows = min(max(rows, 1), tiles_down)
    kernel = KERNEL_TRANSFORM @ weight.flatten(0, 1).flatten(1)
    kernel = kernel.unflatten(1, weight.shape[2:])  # [36, C, K]
    tiles = TileRows(rows, tiles_across, x.shape[3], y.shape[3])
    for image, result in zip(x, y, strict=True):
        for first in range(0, tiles_down, rows):
            tiles.read(image, first)
            tiles.multiply(kernel)
            tiles.write(result, first)


class TileRows:
    """Buffers for some rows of tiles, used again and again so that they stay in the cache.

    Args:
        rows: of tiles.
        across: tiles in a row.
        channels, out_channels: C and K.
    """

    def __init__(self, rows: int, across: int, channels: int, out_channels: int):
        self.rows = rows
        self.padded = torch.zeros(OUTPUTS * rows + 2, OUTPUTS * across + 2, channels)
        of_row, of_column, of_channel = self.padded.stride()
        self.overlapping = self.padded.as_strided(
            (TILE, TILE, rows, across, channels),
            (of_row, of_column, OUTPUTS * of_row, OUTPUTS * of_column, of_channel),
        )
        self.inputs = torch.empty(TILE, TILE, rows, across, channels)
        self.transformed = torch.empty(TILE**2, rows * across, channels)
        self.products = torch.empty(TILE**2, rows * across, out_channels)
        self.outputs = torch.empty(OUTPUTS, OUTPUTS, rows, across, out_channels)

    def read(self, image: Tensor, first: int) -> None:
        """Takes rows of tiles out of `[H, W, C]`, from row `first` on, with zeros around it."""
        start = OUTPUTS * first - 1
        end = min(start + len(self.padded), len(image))
        top = max(start, 0)
        self.padded[: top - start].zero_()
        self.padded[top - start : end - start, 1:-1].copy_(image[top:end])
        self.padded[end - start :].zero_()
        self.inputs.copy_(self.overlapping)

    def multiply(self, kernel: Tensor) -> None:
        """All products with the kernel `[36, C, K]`."""
        inputs = self.inputs.view(TILE**2, -1)
        torch.mm(INPUT_TRANSFORM, inputs, out=self.transformed.view(TILE**2, -1))
        torch.bmm(self.transformed, kernel, out=self.products)
        products = self.products.view(TILE**2, -1)
        torch.mm(OUTPUT_TRANSFORM, products, out=self.outputs.view(OUTPUTS**2, -1))

    def write(self, result: Tensor, first: int) -> None:
        """Puts the tiles into `[H, W, K]`; what lies below its end is left out."""
        rows = result.unflatten(1, (-1, OUTPUTS)).unflatten(0, (-1, OUTPUTS))
        rows = rows[first : first + self.rows]  # [rows, 4, across, 4, K]
        rows.copy_(self.outputs.permute(2, 0, 3, 1, 4)[: len(rows)])
