"""3x3 convolutions with a quarter of the multiplications, for CPUs.

Winograd's F(4x4, 3x3) (Lavin and Gray, arXiv 1509.09308, section 4): 36 products give a 4x4 tile of
outputs, instead of 144. Tiles of input, kernel and output are transformed along each axis, and what
lies between are 36 large matrix products. The values are those of `F.conv2d` but for rounding:
relative L2 some 3e-6. For kernels of 3x1, where half of the products remain, it gains nothing.

The image is read some rows at a time. A norm with its SiLU, or a doubling of the size, is computed
on the way if asked for, and the result may take the place of the input. At 320x512, one feature map
of Stable Diffusion's VAE takes 168 MB: each of these saves one.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .kernels import Products

OUTPUTS, TILE = 4, 6  # along one axis

KERNEL_ROWS = torch.tensor([  # [6, 3]
    [1 / 4, 0, 0],
    [-1 / 6, -1 / 6, -1 / 6],
    [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6],
    [1 / 24, -1 / 12, 1 / 6],
    [0, 0, 1],
])  # fmt: skip
KERNEL_TRANSFORM = torch.kron(KERNEL_ROWS, KERNEL_ROWS)  # [36, 9], for both axes

MIN_CHANNELS = 96  # with fewer, transforming costs more than it saves
BUFFER = 3_500_000  # numbers in a buffer of tiles: few enough for a cache, many enough for products
SUMMED_PIXELS = 1024  # at a time, for the statistics of a norm


@dataclass(frozen=True)
class Before:
    """What happens to features `[B, C, H, W]` on their way into a convolution.

    Args:
        scale, shift: `[B, C]`: SiLU(scale x + shift) takes the place of x; None leaves x as it is.
        doubled: whether every pixel becomes 2x2.
    """

    scale: Tensor | None = None
    shift: Tensor | None = None
    doubled: bool = False


NOTHING = Before()


class FoldingNorm(nn.GroupNorm):
    """A GroupNorm that can leave its arithmetic to the convolution after it."""

    def forward(self, x: Tensor, *, folded: bool = False) -> Any:
        """The normalised features, or what a convolution must do before itself to be the same."""
        if not folded:
            return super().forward(x)
        mean, variance = _group_statistics(x, self.num_groups)  # [B, G, 1] float64
        deviation = (variance + self.eps).sqrt()
        weight, bias = (p.double().unflatten(0, (self.num_groups, -1)) for p in self.parameters())
        scale = weight / deviation  # [B, G, C/G]
        shift = bias - mean * scale
        return Before(scale.flatten(1).to(x.dtype), shift.flatten(1).to(x.dtype))


def _group_statistics(x: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of each group of channels, without a copy of `x`."""
    pixels = x.permute(0, 2, 3, 1).flatten(1, 2)  # [B, H*W, C]
    center = pixels[:, :1]  # squares of what is left are small: float32 holds their sums
    total = torch.zeros(2, len(x), x.shape[1], dtype=torch.float64)
    for part in pixels.split(SUMMED_PIXELS, dim=1):
        offset = part - center
        total += torch.stack([offset.sum(1), offset.square_().sum(1)])
    offset, square = total / pixels.shape[1]
    mean = (center[:, 0] + offset).unflatten(1, (groups, -1))  # [B, G, C/G]
    variance = (square - offset**2).unflatten(1, (groups, -1))
    group_mean = mean.mean(-1, keepdim=True)
    return group_mean, (variance + (mean - group_mean) ** 2).mean(-1, keepdim=True)


def use_fast_convolutions(model: nn.Module) -> None:
    """Makes every 3x3 convolution in `model` that keeps the size one of `spatial_conv_class`.

    Norms become ones that such a convolution can take in. Weights stay the same tensors under the
    same names.
    """
    for module in model.modules():
        for name, layer in module.named_children():
            fast = _fast_layer(layer)
            if fast is not None:
                fast.weight, fast.bias = layer.weight, layer.bias
                setattr(module, name, fast)


def _fast_layer(layer: nn.Module) -> Any:
    """One without weights that computes the same; None if there is none."""
    with torch.device("meta"):
        if isinstance(layer, nn.Conv2d) and _is_ours(layer):
            given: Any = type(layer)
            return spatial_conv_class(given)(layer.in_channels, layer.out_channels, 3, padding=1)
        if type(layer) is nn.GroupNorm and layer.affine:
            return FoldingNorm(layer.num_groups, layer.num_channels, layer.eps)
    return None


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
        def forward(self, x: Tensor, *args: Any, before: Before | None = None, **how: Any) -> Any:
            """As `conv2d`; with `before`, which only `can_fold` allows, as `convolve`."""
            if before is None:
                return super().forward(x, *args, **how)
            return convolve(x, self.weight, self.bias, before, **how)

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
    if weight.dtype == torch.float32 and _pays(x, len(weight)):
        return convolve(x, weight, bias)
    return F.conv2d(x, weight, bias, padding=1)


def can_fold(conv: Any, x: Tensor, *, doubled: bool = False) -> bool:
    """Whether `conv(x, before=...)` is there for this input, and worth it."""
    if type(conv) is not spatial_conv_class(nn.Conv2d) or not _is_ours(conv):
        return False
    return _pays(x, conv.out_channels, 2 if doubled else 1)


def _pays(x: Tensor, out_channels: int, growth: int = 1) -> bool:
    if x.device.type != "cpu" or x.dtype != torch.float32:
        return False
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return False
    batch, channels, height, width = x.shape
    height, width = growth * height, growth * width
    tiles = batch * height * width // OUTPUTS**2
    # The kernel is transformed in every call: fewer tiles would not be worth it.
    is_large = 2 * tiles >= channels and min(channels, out_channels) >= MIN_CHANNELS
    return is_large and height % OUTPUTS == width % OUTPUTS == 0


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    before: Before = NOTHING,
    into: Tensor | None = None,
) -> Tensor:
    """A convolution of float32 by Winograd's way; arguments as in `conv3x3`.

    Args:
        before: what happens to `x` first.
        into: where the result goes, in channels-last memory; may be `x` itself.
    """
    batch, _, height, width = x.shape
    if into is None:
        growth = 2 if before.doubled else 1
        y = x.new_empty(batch, growth * height, growth * width, len(weight))
    else:
        y = into.permute(0, 2, 3, 1)
    transformed = KERNEL_TRANSFORM @ weight.permute(2, 3, 0, 1).flatten(0, 1).flatten(1)
    kernel = Products(transformed.unflatten(1, weight.shape[:2]))  # [36, K, C]
    tiles = TileRows(y.shape[1] // OUTPUTS, y.shape[2] // OUTPUTS, x.shape[1], len(weight))
    for index, (image, result) in enumerate(zip(x.permute(0, 2, 3, 1), y, strict=True)):
        for first in range(0, y.shape[1], OUTPUTS * tiles.rows):
            tiles.read(image, first, before, index)
            tiles.convolve(kernel, bias, result[first : first + OUTPUTS * tiles.rows])
    return y.permute(0, 3, 1, 2)  # [B, H, W, K] -> [B, K, H, W]


class TileRows:
    """Buffers for some rows of tiles, used again and again so that they stay in the cache.

    Args:
        down, across: tiles in a column and in a row of the image.
        channels, out_channels: C and K.
    """

    def __init__(self, down: int, across: int, channels: int, out_channels: int):
        most = max(1, BUFFER // (TILE**2 * max(channels, out_channels)))
        self.rows = min(max(1, most // across), down)
        self.columns = math.ceil(across / math.ceil(across / most))
        self.padded = torch.zeros(OUTPUTS * self.rows + 2, OUTPUTS * across + 2, channels)
        of_row, of_column, of_channel = self.padded.stride()
        self.overlapping = self.padded.as_strided(
            (TILE, TILE, self.rows, across, channels),
            (of_row, of_column, OUTPUTS * of_row, OUTPUTS * of_column, of_channel),
        )
        numbers = self.rows * self.columns * max(channels, out_channels)
        self.first, self.second = (torch.empty(TILE**2 * numbers) for _ in range(2))
        self.scratch = torch.empty(4 * TILE * numbers)

    def read(self, image: Tensor, first: int, before: Before, index: int) -> None:
        """Takes what the rows of pixels from `first` on need out of image `index`, `[H, W, C]`.

        From the top, one after the other: two rows are here already from the last time, so that
        what is above may have been overwritten since.
        """
        known = 2 if first else 1
        self.padded[:known] = self.padded[-known:] if first else 0
        new = self.padded[known:]
        growth = 2 if before.doubled else 1
        start = first - 1 + known
        height = min(len(new), growth * len(image) - start)
        new[height:] = 0
        rows = torch.arange(start, start + height) // growth
        _prepare(image[rows[0] : rows[-1] + 1], rows - rows[0], before, index, new[:height, 1:-1])

    def convolve(self, kernel: Products, bias: Tensor | None, result: Tensor) -> None:
        """Writes what was read, convolved with the kernel, to `[rows, W, K]`."""
        down = len(result) // OUTPUTS
        result = result.unflatten(1, (-1, OUTPUTS)).unflatten(0, (-1, OUTPUTS))
        for start in range(0, result.shape[2], self.columns):
            columns = slice(start, start + self.columns)
            outputs = self._multiply(self.overlapping[:, :, :down, columns], kernel)
            # [4, 4, down, n, K] -> [down, 4, n, 4, K]
            outputs = outputs.permute(2, 0, 3, 1, 4)
            part = result[:, :, columns]
            torch.add(outputs, 0 if bias is None else bias, out=part)

    def _multiply(self, tiles: Tensor, kernel: Products) -> Tensor:
        """Tiles `[6, 6, down, n, C]` to outputs `[4, 4, down, n, K]`."""
        place = tiles.shape[2:4]
        products = kernel.multiply(self._inputs(tiles, kernel.interleaved))  # [36, down*n, K]
        return self._outputs(products.unflatten(1, place).unflatten(0, (TILE, TILE)))

    def _inputs(self, tiles: Tensor, interleaved: bool) -> Tensor:
        """B^T d B of the tiles `[6, 6, down, n, C]`: `[36, down*n, C]`."""
        *_, down, across, channels = tiles.shape
        half = _part(self.first, *tiles.shape)
        if interleaved:
            whole = _part(self.second, down, across, TILE, TILE, channels).permute(2, 3, 0, 1, 4)
        else:
            whole = _part(self.second, *tiles.shape)
        scratch = _part(self.scratch, 4, *tiles.shape[1:])
        transform_inputs(tiles, half, scratch)
        transform_inputs(half.transpose(0, 1), whole.transpose(0, 1), scratch)
        return whole.flatten(2, 3).flatten(0, 1)

    def _outputs(self, products: Tensor) -> Tensor:
        """A^T m A of the products `[6, 6, down, n, K]`: `[4, 4, down, n, K]`."""
        shape = products.shape[2:]
        half = _part(self.second, OUTPUTS, TILE, *shape)
        whole = _part(self.first, OUTPUTS, OUTPUTS, *shape)
        scratch = _part(self.scratch, 4, TILE, *shape)
        transform_outputs(products, half, scratch)
        transform_outputs(half.transpose(0, 1), whole.transpose(0, 1), scratch[:, :OUTPUTS])
        return whole


def _part(buffer: Tensor, *size: int) -> Tensor:
    return buffer[: math.prod(size)].view(size)


def transform_inputs(x: Tensor, out: Tensor, scratch: Tensor) -> None:
    """Six rows `x` to the six of B^T x, along the first axis; `scratch` holds four rows.

    Sums in place of a product with B^T: rows 1 and 2 are a + b and a - b, and so on.
    """
    a, b, c, d = scratch
    torch.sub(x[4], x[2], alpha=4, out=a)
    torch.sub(x[3], x[1], alpha=4, out=b)
    torch.add(a, b, out=out[1])
    torch.sub(a, b, out=out[2])
    torch.sub(x[4], x[2], out=c)
    torch.sub(x[3], x[1], out=d)
    torch.add(c, d, alpha=2, out=out[3])
    torch.sub(c, d, alpha=2, out=out[4])
    torch.sub(x[0], x[2], out=a)
    torch.add(c, a, alpha=4, out=out[0])
    torch.sub(x[5], x[3], out=b)
    torch.sub(b, d, alpha=4, out=out[5])


def transform_outputs(x: Tensor, out: Tensor, scratch: Tensor) -> None:
    """Six rows `x` to the four of A^T x, along the first axis; `scratch` holds four rows."""
    a, b, c, d = scratch
    torch.add(x[1], x[2], out=a)
    torch.sub(x[1], x[2], out=b)
    torch.add(x[3], x[4], out=c)
    torch.sub(x[3], x[4], out=d)
    torch.add(a, c, out=out[0]).add_(x[0])
    torch.add(b, d, alpha=2, out=out[1])
    torch.add(a, c, alpha=4, out=out[2])
    torch.add(b, d, alpha=8, out=out[3]).add_(x[5])


def _prepare(image: Tensor, rows: Tensor, before: Before, index: int, into: Tensor) -> None:
    """Some `rows` of `[H, W, C]`, after what comes before the convolution, to `[rows, W, C]`."""
    if before.doubled:
        # [rows, W, C] -> [rows, W, 2, C]
        into.unflatten(1, (-1, 2)).copy_(image[rows][:, :, None])
    elif before.scale is None or before.shift is None:
        into.copy_(image)
    else:
        torch.addcmul(before.shift[index], image, before.scale[index], out=into)
        F.silu(into, inplace=True)
