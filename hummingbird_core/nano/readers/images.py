"""Reader of videos of a moving image: which image, which direction, over which background.

Template matching without learning: every image of the dataset is matched at every position, in
three sizes and both orientations; the one that explains most of the difference from the background
wins. Unclear videos are read as None, "undecided", which counts as wrong.
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
from ..world.looks import PICTURES, picture_at_size
from ..world.motion import RADIUS
from .shapes import heading

SHRINK = 2
MIN_EXPLAINED = 0.75  # of the squared difference from the background; sharp videos reach 0.9
MIN_LEAD = 0.1  # of the best image over the second best
MIN_DIFFERENCE = 1e-3  # mean squared difference from the background, in a video that shows anything
MAX_TONE_DISTANCE = 0.12  # RGB in 0..1, root mean square over the rows


@dataclass(frozen=True)
class ImageReading:
    """Attributes read from a video; None if undecided. A plain background is the place ""."""

    picture: str | None
    direction: str | None
    place: str | None


def read_image_scene(frames: np.ndarray) -> ImageReading:
    """Read uint8 frames `[T, H, W, 3]` of one image on a background of uniform rows."""
    video = torch.from_numpy(np.asarray(frames, dtype=np.float32) / 255).permute(0, 3, 1, 2)
    video = F.avg_pool2d(video, SHRINK)  # [T, 3, H/2, W/2]: a sixteenth of the correlations
    # The outer columns of all frames, which the subject rarely reaches.
    outer = video[..., [0, -1]]  # [T, 3, H, 2]
    background = outer.permute(1, 2, 0, 3).flatten(2).median(dim=-1).values[..., None]  # [3, H, 1]
    place = _place(background[..., 0])
    if (video - background).square().mean() < MIN_DIFFERENCE:
        return ImageReading(None, None, place)
    fits = {name: _best_fit(video, background, name) for name in PICTURES}
    nearest, second = sorted(fits, key=lambda name: -fits[name].explained)[:2]
    best = fits[nearest]
    if best.explained < max(MIN_EXPLAINED, fits[second].explained + MIN_LEAD):
        return ImageReading(None, None, place)
    direction = heading(SHRINK * best.x, SHRINK * best.y, np.arange(len(frames)))
    return ImageReading(nearest, direction, place)


@dataclass(frozen=True)
class Fit:
    """Best match of one image with a video.

    Attributes:
        explained: explained share of the squared difference from the background, at most 1.
        x, y: best position in each frame `[T]`, in downscaled pixels.
    """

    explained: float
    x: np.ndarray
    y: np.ndarray


def _best_fit(video: Tensor, background: Tensor, name: str) -> Fit:
    """Return the best match over all sizes and both orientations."""
    fits = (_fit(video, background, template) for template in _templates(name))
    return max(fits, key=lambda fit: fit.explained)


@cache
def _templates(name: str) -> list[Tensor]:
    """Return templates `[4, n, n]`: RGB premultiplied by alpha, and alpha."""
    low, high = RADIUS
    sizes = (round(2 * radius / SHRINK) for radius in (low, (low + high) / 2, high))
    images = (picture_at_size(name, size) for size in sizes)
    return [image.flip(-1) if mirrored else image for image, mirrored in product(images, (0, 1))]


def _fit(video: Tensor, background: Tensor, template: Tensor) -> Fit:
    """Match a template at every position of every frame.

    With d the difference from the background g, and a template of premultiplied color s and
    alpha a, the image at some position makes the difference m = s - a g. It explains
    |d|^2 - |d - m|^2 = 2 d.m - |m|^2, sums of correlations, since g depends on the row alone.
    """
    colours, cover = template[:3, None], template[3:, None]  # [3, 1, n, n], [1, 1, n, n]
    d = video - background  # [T, 3, H, W]
    g = background.expand(3, -1, video.shape[-1])[None]  # [1, 3, H, W]
    d_m = _correlate(d, colours) - _correlate(d * g, cover.expand(3, 1, -1, -1))
    m_m = colours.square().sum() - 2 * _correlate(g, colours * cover)
    m_m = m_m + _correlate(g.square(), cover.square().expand(3, 1, -1, -1))
    explained = (2 * d_m - m_m)[:, 0].flatten(1)  # [T, H', W'] -> [T, H' W']
    gain, index = explained.max(dim=1)
    width = video.shape[-1] - template.shape[-1] + 1
    share = gain.sum() / d.square().sum()
    return Fit(float(share), (index % width).numpy(), (index // width).numpy())


def _correlate(images: Tensor, kernels: Tensor) -> Tensor:
    """Correlate `[N, 3, H, W]` with a kernel per channel `[3, 1, n, n]`: sums `[N, 1, H', W']`."""
    return F.conv2d(images, kernels.transpose(0, 1))


def _place(rows: Tensor) -> str | None:
    """Return the place with the nearest sky and land colors, for row colors `[3, H]`."""
    if rows.std(dim=1).max() < 0.03:
        return ""
    names, tones = zip(*_tones(), strict=True)
    top, bottom = rows[:, : rows.shape[1] // 8].mean(dim=1), rows[:, -rows.shape[1] // 8 :].mean(1)
    seen = torch.cat([top, bottom])
    distances = (torch.stack(tones) - seen).square().mean(dim=1).sqrt()
    nearest = int(distances.argmin())
    return names[nearest] if distances[nearest] < MAX_TONE_DISTANCE else None


def _tones() -> Iterator[tuple[str, Tensor]]:
    """Yield each place with the colors of its upper sky and its land, `[6]`."""
    return ((name, torch.tensor([*top, *land])) for name, (top, _, land) in TONES.items())
