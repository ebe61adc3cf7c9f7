"""Says what a video of a moving picture shows: which one, where it goes, over which place.

Learning-free: every picture of the world is tried at every place, in three sizes and both ways
round, and the one that explains most of what differs from the background is the nearest. It
answers None, "undecided", rather than guess, and undecided counts as wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..world.backgrounds import TONES
from ..world.images import IMAGES, at_size
from ..world.motion import RADIUS
from .shapes import heading

SHRINK = 2
MIN_EXPLAINED = 0.75  # of the squared difference from the background; sharp videos reach 0.9
MIN_LEAD = 0.1  # of the nearest picture over the next one
MIN_DIFFERENCE = 1e-3  # mean square of it, in a video that shows anything
MAX_TONE_DISTANCE = 0.12  # RGB in 0..1, root mean square over the rows


@dataclass(frozen=True)
class ImageReading:
    """What was seen; None where the video does not say clearly. A plain ground is the place ""."""

    picture: str | None
    direction: str | None
    place: str | None


def read_image_scene(frames: np.ndarray) -> ImageReading:
    """Reads uint8 frames `[T, H, W, 3]` of one picture before a ground with level rows."""
    video = torch.from_numpy(np.asarray(frames, dtype=np.float32) / 255).permute(0, 3, 1, 2)
    video = F.avg_pool2d(video, SHRINK)  # [T, 3, H, W]: sixteen times less to correlate
    # The outer columns of all frames, most of which the subject does not reach.
    outer = video[..., [0, -1]]  # [T, 3, H, 2]
    ground = outer.permute(1, 2, 0, 3).flatten(2).median(dim=-1).values[..., None]  # [3, H, 1]
    place = _place(ground[..., 0])
    if (video - ground).square().mean() < MIN_DIFFERENCE:
        return ImageReading(None, None, place)
    fits = {name: _best_fit(video, ground, name) for name in IMAGES}
    nearest, second = sorted(fits, key=lambda name: -fits[name].explained)[:2]
    best = fits[nearest]
    if best.explained < max(MIN_EXPLAINED, fits[second].explained + MIN_LEAD):
        return ImageReading(None, None, place)
    direction = heading(SHRINK * best.x, SHRINK * best.y, np.arange(len(frames)))
    return ImageReading(nearest, direction, place)


@dataclass(frozen=True)
class Fit:
    """How well one picture explains a video.

    Attributes:
        explained: share of the squared difference from the background, at most 1.
        x, y: where it fits best in each frame `[T]`, in shrunk pixels.
    """

    explained: float
    x: np.ndarray
    y: np.ndarray


def _best_fit(video: Tensor, ground: Tensor, name: str) -> Fit:
    """The best of all sizes and both ways round."""
    fits = (_fit(video, ground, template) for template in _templates(name))
    return max(fits, key=lambda fit: fit.explained)


@cache
def _templates(name: str) -> list[Tensor]:
    """`[4, n, n]` each: colours times cover, and cover."""
    low, high = RADIUS
    sizes = (round(2 * radius / SHRINK) for radius in (low, (low + high) / 2, high))
    images = (at_size(name, size) for size in sizes)
    return [image.flip(-1) if mirrored else image for image, mirrored in product(images, (0, 1))]


def _fit(video: Tensor, ground: Tensor, template: Tensor) -> Fit:
    """Matches a template at every place of every frame.

    With difference d from the ground g, and a template of colours s times cover a, the picture at
    some place would make the difference m = s - a g. What it explains there is
    |d|^2 - |d - m|^2 = 2 d.m - |m|^2, sums of correlations, since g depends on the row alone.
    """
    colours, cover = template[:3, None], template[3:, None]  # [3, 1, n, n], [1, 1, n, n]
    d = video - ground  # [T, 3, H, W]
    g = ground.expand(3, -1, video.shape[-1])[None]  # [1, 3, H, W]
    d_m = _correlate(d, colours) - _correlate(d * g, cover.expand(3, 1, -1, -1))
    m_m = colours.square().sum() - 2 * _correlate(g, colours * cover)
    m_m = m_m + _correlate(g.square(), cover.square().expand(3, 1, -1, -1))
    explained = (2 * d_m - m_m)[:, 0].flatten(1)  # [T, H', W'] -> [T, H' W']
    gain, index = explained.max(dim=1)
    width = video.shape[-1] - template.shape[-1] + 1
    share = gain.sum() / d.square().sum()
    return Fit(float(share), (index % width).numpy(), (index // width).numpy())


def _correlate(images: Tensor, kernels: Tensor) -> Tensor:
    """`[N, 3, H, W]` with a kernel for each colour `[3, 1, n, n]`, summed: `[N, 1, H', W']`."""
    return F.conv2d(images, kernels.transpose(0, 1))


def _place(rows: Tensor) -> str | None:
    """The place with the nearest colours of sky and land, for the colours `[3, H]` of all rows."""
    if rows.std(dim=1).max() < 0.03:
        return ""
    names, tones = zip(*_tones(), strict=True)
    top, bottom = rows[:, : rows.shape[1] // 8].mean(dim=1), rows[:, -rows.shape[1] // 8 :].mean(1)
    seen = torch.cat([top, bottom])
    distances = (torch.stack(tones) - seen).square().mean(dim=1).sqrt()
    nearest = int(distances.argmin())
    return names[nearest] if distances[nearest] < MAX_TONE_DISTANCE else None


def _tones() -> Iterator[tuple[str, Tensor]]:
    """Of every place the top of the sky and the land, `[6]`."""
    return ((name, torch.tensor([*top, *land])) for name, (top, _, land) in TONES.items())
