"""3x3 convolutions with a quarter of the multiplications, for CPUs.

Winograd's F(4x4, 3x3) (Lavin and Gray, arXiv 1509.09308, section 4.3) computes a 4x4 tile of
outputs Y from a 6x6 tile of inputs d and a 3x3 kernel g:

    Y = A^T [ (G g G^T) * (B^T d B) ] A,    * multiplies entry by entry

    G = [  1/4     0     0 ]    B^T = [ 4   0  -5   0  1  0 ]    A^T = [ 1  1   1  1   1  0 ]
        [ -1/6  -1/6  -1/6 ]          [ 0  -4  -4   1  1  0 ]          [ 0  1  -1  2  -2  0 ]
        [ -1/6   1/6  -1/6 ]          [ 0   4  -4  -1  1  0 ]          [ 0  1   1  4   4  0 ]
        [ 1/24  1/12   1/6 ]          [ 0  -2  -1   2  1  0 ]          [ 0  1  -1  8  -8  1 ]
        [ 1/24 -1/12   1/6 ]          [ 0   2  -1  -2  1  0 ]
        [    0     0     1 ]          [ 0   4   0  -5  0  1 ]

Each of the 36 entries is a sum over channels, so that over all tiles it is one large matrix
product: 36 multiplications a tile, channel and output channel instead of 16 * 9 = 144. The result
is that of `F.conv2d` up to rounding, with a relative L2 error near 3e-6. For 3x1 kernels, where
half of the multiplications remain, nothing is gained.

The image is read some rows at a time. A norm with its SiLU, or upsampling by 2, can be applied on
the way, and the result may replace the input. At 320x512, one feature map of Stable Diffusion's
VAE takes 168 MB: each of these saves one.

Shapes: B images, C channels in, K channels out, H x W pixels, n tiles in a row of tiles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .kernels import Products

OUTPUTS, TILE = 4, 6  # outputs and inputs of a tile along one axis

KERNEL_ROWS = torch.tensor([  # G [6, 3]
    [1 / 4, 0, 0],
    [-1 / 6, -1 / 6, -1 / 6],
    [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6],
    [1 / 24, -1 / 12, 1 / 6],
    [0, 0, 1],
])  # fmt: skip
# vec(G g G^T) = (G x G) vec(g), with the Kronecker product x: [36, 9]
KERNEL_TRANSFORM = torch.kron(KERNEL_ROWS, KERNEL_ROWS)

MIN_CHANNELS = 96  # with fewer, the transforms cost more than they save
BUFFER = 3_500_000  # entries of a buffer of tiles: fits a cache, and fills large products
SUMMED_PIXELS = 1024  # pixels summed at a time for the statistics of a norm


@dataclass(frozen=True)
class Before:
    """Affine + SiLU, or upsampling by 2, fused into the input of a convolution.

    Attributes:
        scale: `[B, C]`; x becomes SiLU(scale x + shift). None leaves x as it is.
        shift: `[B, C]` or None, together with `scale`.
        doubled: whether every pixel becomes 2x2 pixels (nearest neighbor).
    """

    scale: Tensor | None = None
    shift: Tensor | None = None
    doubled: bool = False


NOTHING = Before()


def fold_group_norm(x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float) -> Before:
    """Express GroupNorm (arXiv 1803.08494) as the affine map it is once its statistics are known.

    weight (x - mean) / sqrt(variance + eps) + bias = scale x + shift, with
    scale = weight / sqrt(variance + eps) and shift = bias - mean scale.

    Args:
        x: features `[B, C, H, W]`.
        groups: G.
        weight: `[C]`.
        bias: `[C]`.
        eps: added to the variance.
    """
    mean, variance = _group_statistics(x, groups)  # [B, G, 1] float64
    deviation = (variance + eps).sqrt()
    # [C] -> [G, C/G]
    weight, bias = (values.double().unflatten(0, (groups, -1)) for values in (weight, bias))
    scale = weight / deviation  # [B, G, C/G]
    shift = bias - mean * scale
    # [B, G, C/G] -> [B, C]
    return Before(scale.flatten(1).to(x.dtype), shift.flatten(1).to(x.dtype))


def _group_statistics(x: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Return mean and variance of each group of channels, `[B, G, 1]`, without copying `x`.

    With c for the first pixel and o = x - c, per channel: mean = c + E[o] and
    variance = E[o^2] - E[o]^2. Offsets are small where x has a large mean, so that float32 holds
    their squares; the sums are float64. Over the channels of a group, the mean is that of the
    means, and the variance E[variance + (mean - group mean)^2].
    """
    pixels = x.permute(0, 2, 3, 1).flatten(1, 2)  # [B, C, H, W] -> [B, H*W, C]
    center = pixels[:, :1]
    total = torch.zeros(2, len(x), x.shape[1], dtype=torch.float64)
    for part in pixels.split(SUMMED_PIXELS, dim=1):
        offset = part - center
        total += torch.stack([offset.sum(1), offset.square_().sum(1)])
    offset, square = total / pixels.shape[1]
    mean = (center[:, 0] + offset).unflatten(1, (groups, -1))  # [B, C] -> [B, G, C/G]
    variance = (square - offset**2).unflatten(1, (groups, -1))  # [B, C] -> [B, G, C/G]
    group_mean = mean.mean(-1, keepdim=True)
    return group_mean, (variance + (mean - group_mean) ** 2).mean(-1, keepdim=True)


def winograd_conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Drop-in replacement for `F.conv2d(..., padding=1)`, Winograd where that is faster.

    Args:
        x: `[B, C, H, W]`, best in channels-last memory, which the result then has, too.
        weight: `[K, C, 3, 3]`.
        bias: `[K]`.

    Returns:
        `[B, K, H, W]`.
    """
    if weight.dtype == torch.float32 and is_worthwhile(x, len(weight)):
        return convolve(x, weight, bias)
    return F.conv2d(x, weight, bias, padding=1)


def is_worthwhile(x: Tensor, out_channels: int, growth: int = 1) -> bool:
    """Return whether Winograd's algorithm supports this call and is faster.

    Args:
        x: input `[B, C, H, W]` of a convolution.
        out_channels: K.
        growth: factor by which H and W are upsampled first.
    """
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
    """Convolve float32 features by Winograd's algorithm.

    Args:
        x: `[B, C, H, W]`.
        weight: `[K, C, 3, 3]`.
        bias: `[K]`.
        before: applied to `x` first.
        into: receives the result, in channels-last memory; may be `x` itself.

    Returns:
        `[B, K, H, W]`, twice as high and wide if `before` doubles.
    """
    batch, _, height, width = x.shape
    if into is None:
        growth = 2 if before.doubled else 1
        y = x.new_empty(batch, growth * height, growth * width, len(weight))
    else:
        y = into.permute(0, 2, 3, 1)  # [B, K, H, W] -> [B, H, W, K]
    # g: [K, C, 3, 3] -> [3, 3, K, C] -> [9, K, C] -> [9, K*C]
    g = weight.permute(2, 3, 0, 1).flatten(0, 1).flatten(1)
    # G g G^T: [36, K*C] -> [36, K, C]
    kernel = Products((KERNEL_TRANSFORM @ g).unflatten(1, weight.shape[:2]))
    tiles = TileRows(y.shape[1] // OUTPUTS, y.shape[2] // OUTPUTS, x.shape[1], len(weight))
    images = x.permute(0, 2, 3, 1)  # [B, C, H, W] -> [B, H, W, C]
    for index, (image, result) in enumerate(zip(images, y, strict=True)):
        for first in range(0, y.shape[1], OUTPUTS * tiles.rows):
            tiles.read(image, first, before, index)
            tiles.convolve(kernel, bias, result[first : first + OUTPUTS * tiles.rows])
    return y.permute(0, 3, 1, 2)  # [B, H, W, K] -> [B, K, H, W]


class TileRows:
    """Buffers for some rows of tiles, reused so that they stay in the cache.

    Args:
        down: tiles in a column of the image.
        across: tiles in a row of the image.
        channels: C.
        out_channels: K.
    """

    def __init__(self, down: int, across: int, channels: int, out_channels: int):
        most = max(1, BUFFER // (TILE**2 * max(channels, out_channels)))
        self.rows = min(max(1, most // across), down)
        self.columns = math.ceil(across / math.ceil(across / most))
        self.padded = torch.zeros(OUTPUTS * self.rows + 2, OUTPUTS * across + 2, channels)
        of_row, of_column, of_channel = self.padded.stride()
        # Tiles of 6x6 inputs begin every 4 pixels: views of the same memory that overlap by 2.
        # [4 rows + 2, 4 across + 2, C] -> [6, 6, rows, across, C]
        self.overlapping = self.padded.as_strided(
            (TILE, TILE, self.rows, across, channels),
            (of_row, of_column, OUTPUTS * of_row, OUTPUTS * of_column, of_channel),
        )
        numbers = self.rows * self.columns * max(channels, out_channels)
        self.first, self.second = (torch.empty(TILE**2 * numbers) for _ in range(2))
        self.scratch = torch.empty(4 * TILE * numbers)

    def read(self, image: Tensor, first: int, before: Before, index: int) -> None:
        """Read the inputs for output rows from `first` on out of image `index`, `[H, W, C]`.

        Calls go from the top to the bottom. The two input rows shared with the previous call are
        kept here, because the result may have overwritten them in the image.
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
        """Convolve the rows read last with the kernel, into `result` `[rows, W, K]`."""
        down = len(result) // OUTPUTS
        # [4 down, 4 across, K] -> [4 down, across, 4, K] -> [down, 4, across, 4, K]
        result = result.unflatten(1, (-1, OUTPUTS)).unflatten(0, (-1, OUTPUTS))
        for start in range(0, result.shape[2], self.columns):
            columns = slice(start, start + self.columns)
            outputs = self._multiply(self.overlapping[:, :, :down, columns], kernel)
            # [4, 4, down, n, K] -> [down, 4, n, 4, K]
            outputs = outputs.permute(2, 0, 3, 1, 4)
            part = result[:, :, columns]
            torch.add(outputs, 0 if bias is None else bias, out=part)

    def _multiply(self, tiles: Tensor, kernel: Products) -> Tensor:
        """Return A^T [(G g G^T) * (B^T d B)] A: `[6, 6, down, n, C]` -> `[4, 4, down, n, K]`."""
        place = tiles.shape[2:4]
        products = kernel.multiply(self._inputs(tiles, kernel.interleaved))  # [36, down*n, K]
        # [36, down*n, K] -> [36, down, n, K] -> [6, 6, down, n, K]
        return self._outputs(products.unflatten(1, place).unflatten(0, (TILE, TILE)))

    def _inputs(self, tiles: Tensor, interleaved: bool) -> Tensor:
        """Return B^T d B of the tiles d: `[6, 6, down, n, C]` -> `[36, down*n, C]`."""
        *_, down, across, channels = tiles.shape
        half = _part(self.first, *tiles.shape)
        if interleaved:
            # [down, n, 6, 6, C] in memory -> [6, 6, down, n, C]
            whole = _part(self.second, down, across, TILE, TILE, channels).permute(2, 3, 0, 1, 4)
        else:
            whole = _part(self.second, *tiles.shape)
        scratch = _part(self.scratch, 4, *tiles.shape[1:])
        transform_inputs(tiles, half, scratch)  # B^T d
        # (B^T d) B = (B^T (B^T d)^T)^T: [row, column, ...] -> [column, row, ...]
        transform_inputs(half.transpose(0, 1), whole.transpose(0, 1), scratch)
        # [6, 6, down, n, C] -> [6, 6, down*n, C] -> [36, down*n, C]
        return whole.flatten(2, 3).flatten(0, 1)

    def _outputs(self, products: Tensor) -> Tensor:
        """Return A^T m A of the products m: `[6, 6, down, n, K]` -> `[4, 4, down, n, K]`."""
        shape = products.shape[2:]
        half = _part(self.second, OUTPUTS, TILE, *shape)
        whole = _part(self.first, OUTPUTS, OUTPUTS, *shape)
        scratch = _part(self.scratch, 4, TILE, *shape)
        transform_outputs(products, half, scratch)  # A^T m
        # (A^T m) A = (A^T (A^T m)^T)^T: [row, column, ...] -> [column, row, ...]
        transform_outputs(half.transpose(0, 1), whole.transpose(0, 1), scratch[:, :OUTPUTS])
        return whole


def _part(buffer: Tensor, *size: int) -> Tensor:
    """Return the beginning of a flat buffer, seen in this shape."""
    return buffer[: math.prod(size)].view(size)


def transform_inputs(x: Tensor, out: Tensor, scratch: Tensor) -> None:
    """Write B^T x to `out`, along the first axis of `[6, ...]`; `scratch` is `[4, ...]`.

    Rows of B^T that differ in signs only share their sums.
    """
    a, b, c, d = scratch
    # out_1, out_2 = a + b, a - b with a = x_4 - 4 x_2 and b = x_3 - 4 x_1
    torch.sub(x[4], x[2], alpha=4, out=a)
    torch.sub(x[3], x[1], alpha=4, out=b)
    torch.add(a, b, out=out[1])
    torch.sub(a, b, out=out[2])
    # out_3, out_4 = c + 2 d, c - 2 d with c = x_4 - x_2 and d = x_3 - x_1
    torch.sub(x[4], x[2], out=c)
    torch.sub(x[3], x[1], out=d)
    torch.add(c, d, alpha=2, out=out[3])
    torch.sub(c, d, alpha=2, out=out[4])
    # out_0 = 4 x_0 - 5 x_2 + x_4 = c + 4 (x_0 - x_2)
    torch.sub(x[0], x[2], out=a)
    torch.add(c, a, alpha=4, out=out[0])
    # out_5 = 4 x_1 - 5 x_3 + x_5 = (x_5 - x_3) - 4 d
    torch.sub(x[5], x[3], out=b)
    torch.sub(b, d, alpha=4, out=out[5])


def transform_outputs(x: Tensor, out: Tensor, scratch: Tensor) -> None:
    """Write A^T x to `out`, `[6, ...]` -> `[4, ...]`; `scratch` is `[4, ...]`."""
    a, b, c, d = scratch
    # a, b = x_1 + x_2, x_1 - x_2 and c, d = x_3 + x_4, x_3 - x_4
    torch.add(x[1], x[2], out=a)
    torch.sub(x[1], x[2], out=b)
    torch.add(x[3], x[4], out=c)
    torch.sub(x[3], x[4], out=d)
    # out = a + c + x_0, b + 2 d, a + 4 c, b + 8 d + x_5
    torch.add(a, c, out=out[0]).add_(x[0])
    torch.add(b, d, alpha=2, out=out[1])
    torch.add(a, c, alpha=4, out=out[2])
    torch.add(b, d, alpha=8, out=out[3]).add_(x[5])


def _prepare(image: Tensor, rows: Tensor, before: Before, index: int, into: Tensor) -> None:
    """Write `rows` of `[H, W, C]`, with `before` applied, to `[rows, W, C]` (or `[.., 2W, C]`)."""
    if before.doubled:
        # into [rows, 2W, C] -> [rows, W, 2, C]; image [rows, W, C] -> [rows, W, 1, C]
        into.unflatten(1, (-1, 2)).copy_(image[rows][:, :, None])
    elif before.scale is None or before.shift is None:
        into.copy_(image)
    else:
        torch.addcmul(before.shift[index], image, before.scale[index], out=into)
        F.silu(into, inplace=True)
