"""Reader of subjects: which look, where, how large and how far turned, by template matching.

Every look of the dataset is matched at every position, in several sizes and rotations, with no
learning. The look that explains most of the difference from the background wins.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..world.looks import COLORS, PICTURES, SHAPES, Look, can_spin
from ..world.paths import FRAME_SIZE
from .background import SHRINK

SIDE = FRAME_SIZE // SHRINK  # of the shrunk video
SIZES = (10, 12, 14, 16, 19)  # pixels of the shrunk video, in a first search
FINE_SIZES = tuple(range(9, 21))
TURNED_SIZES = (11, 14, 18)
ANGLES = 8  # of a first search
FINE_ANGLES = 24
SEARCHED_FRAMES = 5
CANDIDATES = 3  # looks that are matched in all frames
MARGIN = 1  # pixels around a subject in which nothing else should be
CANVAS = 1.3  # side of a template against its subject, so that it can turn
# Of the squared difference from the background: sharp videos reach 0.95, soft ones 0.53.
MIN_EXPLAINED = 0.5
# Of the best look over the second best: drawn circles lead squares by 0.06, soft pictures others by
# 0.15 or more. In a mixture of two pictures one leads by 0.1 at most.
MIN_LEAD = {"shape": 0.015, "picture": 0.12}
MIN_TURNING_GAIN = 0.02  # of turned templates over upright ones
MIN_ENERGY = 3.0  # squared difference of a subject from the background in a frame


@dataclass(frozen=True)
class Track:
    """Best match of a look in each frame.

    Attributes:
        look: with its direction.
        explained: explained share of the squared difference from the background around it, at most
            1.
        energy: squared difference that it explains, a frame.
        x, y: centers in pixels, `[T]`.
        radius: half the side, in pixels, `[T]`.
        angle: clockwise, radians, `[T]`; None if it stays upright.
    """

    look: Look
    explained: float
    energy: float
    x: np.ndarray
    y: np.ndarray
    radius: np.ndarray
    angle: np.ndarray | None


def find_subjects(video: Tensor, background: Tensor, most: int = 2) -> list[Track]:
    """Return the subjects of a shrunk video, the one that differs most from the background first.

    Args:
        video: `[T, 3, H, W]` in 0..1.
        background: the same without subjects.
        most: number of subjects to look for.
    """
    tracks: list[Track] = []
    for _ in range(most):
        track = _find_one(video, background)
        if track is None:
            break
        tracks.append(track)
        video = _without(video, background, track)
    return tracks


def _find_one(video: Tensor, background: Tensor) -> Track | None:
    energy = (video - background).square().sum(dim=(1, 2, 3))  # [T]
    if energy.mean() < MIN_ENERGY:
        return None
    tracks = [_track(video, background, look) for look in _likeliest(video, background)]
    tracks.sort(key=lambda track: -track.energy)
    best, *others = tracks
    rivals = [t.energy for t in others if t.look.name != best.look.name and _is_same(t, best)]
    second = max(rivals, default=0.0)
    lead = MIN_LEAD["shape" if best.look.color else "picture"]
    is_clear = best.explained > MIN_EXPLAINED and second < (1 - lead) * best.energy
    return best if is_clear and best.energy > MIN_ENERGY else None


def _is_same(track: Track, other: Track) -> bool:
    """Return whether two looks were found at one place."""
    distance = np.hypot(track.x - other.x, track.y - other.y)
    return bool(np.median(distance) < np.median(other.radius))


def _likeliest(video: Tensor, background: Tensor) -> list[Look]:
    """Return the looks that explain most of a few frames, in any size and rotation."""
    chosen = _searched(len(video))
    g = background[chosen]
    spectrum = _spectrum(video[chosen] - g, g)
    gains = torch.full((len(_looks()), len(chosen)), -math.inf)
    for angles, sizes in ((1, SIZES), (ANGLES, TURNED_SIZES)):
        for size in sizes:
            which, templates = _search_templates(size, angles)
            best = _explained(spectrum, templates).amax(dim=(2, 3))  # [T, L A]
            best = best.T.unflatten(0, (-1, angles)).amax(dim=1)  # [L, T]
            gains[which] = torch.maximum(gains[which], best)
    order = gains.sum(dim=1).argsort(descending=True)[:CANDIDATES]
    return [_looks()[i] for i in order.tolist()]


def _searched(num_frames: int) -> Tensor:
    """Return the indices of a few frames, evenly from the first to the last."""
    count = min(SEARCHED_FRAMES, num_frames)
    return torch.linspace(0, num_frames - 1, count).round().long()


def _track(video: Tensor, background: Tensor, look: Look) -> Track:
    """Match one look in all frames, upright and, if it can, turned."""
    d = video - background
    size = _turning_size(d, background, look) if can_spin(look.name) else None
    if size is None:
        return _match(d, background, look, FINE_SIZES, 1)
    return _match(d, background, look, range(size - 2, size + 3), FINE_ANGLES)


def _turning_size(d: Tensor, g: Tensor, look: Look) -> int | None:
    """Return the size of a look in a shrunk video in which it turns; None: it stays upright."""
    chosen = _searched(len(d))
    upright = _match(d[chosen], g[chosen], look, FINE_SIZES, 1)
    turned = _match(d[chosen], g[chosen], look, TURNED_SIZES, FINE_ANGLES)
    if turned.energy < (1 + MIN_TURNING_GAIN) * upright.energy:
        return None
    return round(float(np.median(turned.radius)))  # 2 r pixels of the video, r of the shrunk one


def _match(d: Tensor, g: Tensor, look: Look, sizes: Sequence[int], angles: int) -> Track:
    frames = torch.arange(len(d))
    best = torch.full((len(d),), -math.inf)
    x, y, radius, turn = (torch.zeros(len(d)) for _ in range(4))
    around = torch.full((len(d),), math.inf)  # squared differences in the box of the best match
    spectrum, sums = _spectrum(d, g), _corner_sums(d.square().sum(dim=1))
    for size in sizes:
        templates = _templates(look, size, angles)
        explained = _explained(spectrum, templates)  # [T, A, H', W']
        gain, index = explained.flatten(1).max(dim=1)
        rows, columns = explained.shape[-2:]
        plane, row, column = (
            index // (rows * columns),
            index // columns % rows,
            index % columns,
        )
        maps = explained[frames, plane]  # [T, H', W']
        dx, dy = _vertex(maps, frames, row, column)
        is_better = gain > best
        box = _box_sums(sums, row, column, templates.side)
        half = templates.side / 2 - 0.5
        for values, new in (
            (best, gain),
            (around, box),
            (x, SHRINK * (column + dx + half) + SHRINK / 2),
            (y, SHRINK * (row + dy + half) + SHRINK / 2),
            (radius, torch.full_like(gain, SHRINK * size / 2)),
            (turn, 2 * math.pi * plane / angles),
        ):
            values[is_better] = new[is_better].to(values.dtype)
    angle = turn.numpy() if angles > 1 else None
    return Track(
        look,
        float(best.sum() / around.sum().clamp(min=1e-6)),
        float(best.mean()),
        x.numpy(),
        y.numpy(),
        radius.numpy(),
        angle,
    )


def _corner_sums(values: Tensor) -> Tensor:
    """Return the sums of `[T, H, W]` over all that is above and left, with a margin around."""
    padded = F.pad(values, (MARGIN + 1, MARGIN, MARGIN + 1, MARGIN)).double()
    return padded.cumsum(dim=1).cumsum(dim=2)  # [T, H + 2 MARGIN + 1, W + 2 MARGIN + 1]


def _box_sums(sums: Tensor, row: Tensor, column: Tensor, side: int) -> Tensor:
    """Return the sum over a box and its margin in each frame, `[T]`, from `_corner_sums`."""
    frames = torch.arange(len(sums))
    low, right = row + side + 2 * MARGIN, column + side + 2 * MARGIN
    below = sums[frames, low, right] - sums[frames, low, column]
    above = sums[frames, row, right] - sums[frames, row, column]
    return (below - above).float()


def _vertex(maps: Tensor, frames: Tensor, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor]:
    """Return the vertices of parabolas through the maxima of maps `[T, H', W']`, x and y."""
    padded = F.pad(maps[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    center = maps[frames, row, column]

    def offset(before: Tensor, after: Tensor) -> Tensor:
        curve = before + after - 2 * center
        return (0.5 * (before - after) / curve.clamp(max=-1e-6)).clamp(-0.5, 0.5)

    x = offset(padded[frames, row + 1, column], padded[frames, row + 1, column + 2])
    y = offset(padded[frames, row, column + 1], padded[frames, row + 2, column + 1])
    return x, y


def _spectrum(d: Tensor, g: Tensor) -> Tensor:
    """Return the Fourier transforms of the channels of `_explained`, `[F, T, 8]`, of F waves.

    Args:
        d: difference from the background, `[T, 3, H, W]`.
        g: background, of the same shape.
    """
    d_g, g_g = ((each * g).sum(dim=1, keepdim=True) for each in (d, g))
    return _waves(torch.cat([d, d_g, g, g_g], dim=1)).permute(2, 0, 1)


def _waves(channels: Tensor) -> Tensor:
    """Return the Fourier transforms of `[N, C, h, w]`, padded to the video's size: `[N, C, F]`."""
    return torch.fft.rfft2(channels, s=(SIDE, SIDE)).flatten(2)


def _explained(spectrum: Tensor, templates: Templates) -> Tensor:
    """Return what K templates explain at every position: `[T, K, H', W']`.

    With d the difference from the background g, and a template of premultiplied color s and
    alpha a, the image at some position makes the difference m = s - a g. It explains
    |d|^2 - |d - m|^2 = 2 d.m - |m|^2 = d.2s - (d.g) 2a + g.2sa - |g|^2 a^2 - |s|^2,
    a correlation of eight channels: a product of their Fourier transforms. Positions where a
    template lies inside the video do not see that these repeat beyond it.
    """
    count = SIDE - templates.side + 1
    waves = torch.bmm(spectrum, templates.spectrum).permute(1, 2, 0)  # [T, K, F]
    maps = torch.fft.irfft2(waves.unflatten(2, (SIDE, -1)), s=(SIDE, SIDE))
    return maps[..., :count, :count] - templates.squared[:, None, None]


def _without(video: Tensor, background: Tensor, track: Track) -> Tensor:
    """Return a video with a subject replaced by the background."""
    rows = (torch.arange(video.shape[-2]) + 0.5)[None, :, None] * SHRINK
    columns = (torch.arange(video.shape[-1]) + 0.5)[None, None, :] * SHRINK
    x, y, radius = (
        torch.from_numpy(values)[:, None, None] for values in (track.x, track.y, track.radius)
    )
    reach = radius * (1.0 if track.angle is None else CANVAS) + SHRINK
    is_inside = ((columns - x).abs() < reach) & ((rows - y).abs() < reach)  # [T, H, W]
    return torch.where(is_inside[:, None], background, video)


@cache
def _looks() -> list[Look]:
    """Return all looks; pictures that face a side also mirrored."""
    shapes = [Look(shape, color) for shape in SHAPES for color in COLORS]
    pictures = [Look(name) for name in PICTURES]
    mirrored = [Look(name, mirrored=True) for name, faces in PICTURES.items() if faces]
    return shapes + pictures + mirrored


@dataclass(frozen=True)
class Templates:
    """Terms of `_explained` for templates with premultiplied colors s and alpha a.

    Attributes:
        side: n, in pixels.
        spectrum: conjugate Fourier transforms of 2s, -2a, 2sa and -a^2, `[F, 8, K]`.
        squared: |s|^2, `[K]`.
    """

    side: int
    spectrum: Tensor
    squared: Tensor


@cache
def _search_templates(size: int, angles: int) -> tuple[list[int], Templates]:
    """Return the indices of the looks with this number of rotations, and all of them, K = L A."""
    looks = [(i, look) for i, look in enumerate(_looks()) if angles == 1 or can_spin(look.name)]
    drawn = torch.cat([_drawn(look, size, angles) for _, look in looks])
    return [i for i, _ in looks], _transformed(drawn)


@cache
def _templates(look: Look, size: int, angles: int) -> Templates:
    """Return a look at `angles` rotations."""
    return _transformed(_drawn(look, size, angles))


def _transformed(drawn: Tensor) -> Templates:
    s, a = drawn[:, :3], drawn[:, 3:]
    kernels = torch.cat([2 * s, -2 * a, 2 * s * a, -a.square()], dim=1)  # [K, 8, n, n]
    spectrum = _waves(kernels).conj().permute(2, 1, 0).resolve_conj().contiguous()
    return Templates(drawn.shape[-1], spectrum, s.square().sum(dim=(1, 2, 3)))


def _drawn(look: Look, size: int, angles: int) -> Tensor:
    """Return a look at `angles` rotations `[A, 4, n, n]`: RGB times alpha, and alpha."""
    side = size if angles == 1 else math.ceil(size * CANVAS)
    turns = 2 * math.pi * torch.arange(angles) / angles
    # Drawn at twice the size and shrunk, as the video is.
    middle = torch.full((2, angles), float(SHRINK * side / 2))
    drawn = look.draw(middle, turns, torch.full((angles,), SHRINK * size / 2))
    drawn = drawn[:, :, : SHRINK * side, : SHRINK * side]  # [4, A, n, n]
    return F.avg_pool2d(drawn.transpose(0, 1), SHRINK)
