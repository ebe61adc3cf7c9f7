"""Camera motion: speed, shake, zoom and dolly zoom, without weights.

Phase correlation (Kuglin and Hines, 1975) gives the displacement of overlapping blocks between
neighboring frames; a similarity transform fitted to the displacements is the camera's motion.
Blocks on moving objects, which do not follow it, get a low weight.

Shapes: T frames, h x w pixels, N = rows x columns blocks of b x b pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange

from .frames import gray_frames

MOTION_LONG_SIDE = 128  # pixels of the shrunk frames
BLOCK_SIZE, BLOCK_STRIDE = 32, 16
PAIRS_AT_ONCE = 16  # of frames: their blocks fit in the processor's cache
MIN_TEXTURE = (
    3.0  # standard deviation of a block's pixels, of 255; below it no block can be tracked
)
MIN_PEAK = 0.1  # of the phase correlation; below it the block changed rather than moved
MIN_TRACKED_BLOCKS = 6  # tracked blocks; with fewer the fit is not reliable
MIN_BORDER = 0.5  # tracked share of the blocks at the border; with less, a subject moves, perhaps
FIT_ROUNDS = 4
RESIDUAL_SCALE = 0.5  # pixels; larger residuals lose their weight


@dataclass(frozen=True)
class _Blocks:
    """Displacements of N blocks in T-1 pairs of neighboring frames.

    Attributes:
        centers: [N, 2], x and y from the middle of the frame, pixels.
        moved: [T-1, N, 2], pixels.
        weights: [T-1, N], peak heights; 0 where a block could not be tracked.
        diagonal: of the frame, pixels.
    """

    centers: np.ndarray
    moved: np.ndarray
    weights: np.ndarray
    diagonal: float


def camera_motion(frames: np.ndarray, fps: float) -> dict[str, float]:
    """Measure the camera's motion in a clip; columns that cannot be measured are absent.

    Frames smaller than a block give no column. Smaller pictures than MOTION_LONG_SIDE are enlarged,
    so that a block is the same share of each; in them, things move by whole pixels, so a jump by up
    to a pixel counts as none. Two frames count if half of the blocks at the border
    can be tracked, and half of all have to count: a subject on a plain ground shows nothing of the
    camera.

    Args:
        frames: uint8 [T,H,W,3], T >= 2.
        fps: frames per second.

    Returns:
        camera_speed: mean length of the translation, in % of the diagonal per second.
        camera_shake: mean change of the translation from frame to frame, in % of the diagonal, of
            three frames that count. A smooth pan of any speed has 0.
        camera_zoom: absolute mean growth of the image, in % per second.
        dolly_zoom: steady difference of that growth between the outer and the inner part, in % per
            second: a dolly zoom keeps the subject's size while its surroundings grow or shrink.
            Only frames in which both parts can be tracked count, and they must be half of all.
    """
    gray = gray_frames(frames, MOTION_LONG_SIDE)
    if min(gray.shape[1:]) < BLOCK_SIZE:  # a strip or an icon
        return {}
    large = _enlarged(gray)
    pixel = large.shape[1] / gray.shape[1]
    blocks = _track_blocks(large)
    extent = np.abs(blocks.centers).max(axis=0).clip(min=1)
    outside = np.abs(blocks.centers / extent).max(axis=1) > 0.6
    return {
        **_whole_motion(_whole_fit(blocks), blocks.diagonal, fps, pixel if pixel > 1 else 0.0),
        **_dolly_zoom(_fit_similarity(blocks, ~outside), _fit_similarity(blocks, outside), fps),
    }


def _enlarged(gray: np.ndarray) -> np.ndarray:
    """Enlarge frames [T, h, w] whose longer side is below MOTION_LONG_SIDE to that side."""
    height, width = gray.shape[1:]
    factor = MOTION_LONG_SIDE / max(height, width)
    if factor <= 1:
        return gray
    size = (round(height * factor), round(width * factor))
    frames = torch.from_numpy(gray)[:, None]
    return F.interpolate(frames, size=size, mode="bilinear", align_corners=False)[:, 0].numpy()


def _whole_fit(blocks: _Blocks) -> np.ndarray:
    """Return the fit of all blocks, [T-1, 3]; NaN where the border could not be tracked."""
    ends = blocks.centers.min(axis=0), blocks.centers.max(axis=0)
    at_border = np.any([(blocks.centers == end).any(axis=1) for end in ends], axis=0)
    is_seen = (blocks.weights[:, at_border] > 0).mean(axis=1) >= MIN_BORDER
    return np.where(is_seen[:, None], _fit_similarity(blocks), np.nan)


def _whole_motion(
    fit: np.ndarray, diagonal: float, fps: float, least_jump: float
) -> dict[str, float]:
    """Return speed, shake and zoom.

    Args:
        fit: [T-1, 3], NaN for frames that do not count.
        diagonal: of the frame, pixels.
        fps: frames per second.
        least_jump: change of the translation that still counts as none, pixels.
    """
    known = ~np.isnan(fit[:, 0])
    if 2 * known.sum() < len(known):
        return {}
    translation = fit[:, :2] * 100 / diagonal
    jumps = np.linalg.norm(np.diff(translation, axis=0), axis=1) - least_jump * 100 / diagonal
    jumps = jumps[known[1:] & known[:-1]].clip(min=0)
    return {
        "camera_speed": float(np.linalg.norm(translation[known], axis=1).mean() * fps),
        **({"camera_shake": float(jumps.mean())} if len(jumps) else {}),
        "camera_zoom": float(abs(100 * fps * fit[known, 2].mean())),
    }


def _dolly_zoom(inner: np.ndarray, outer: np.ndarray, fps: float) -> dict[str, float]:
    """Return the dolly zoom from the fits of the inner and the outer part, [T-1, 3] each.

    The median |m| of the differences less twice their median deviation from m: the difference of a
    dolly zoom is steady, that of objects passing a handheld camera swings.
    """
    differences = outer[:, 2] - inner[:, 2]
    known = differences[~np.isnan(differences)]
    if 2 * len(known) < len(differences) or not len(known):
        return {}
    middle = np.median(known)
    steady = abs(middle) - 2 * np.median(np.abs(known - middle))
    return {"dolly_zoom": float(100 * fps * max(0.0, steady))}


def _track_blocks(gray: np.ndarray) -> _Blocks:
    """Return the displacements of the blocks of `gray`, float32 [T, h, w]."""
    height, width = gray.shape[1:]
    starts = range(0, max(1, len(gray) - 1), PAIRS_AT_ONCE)
    parts = [_displacements(gray[start : start + PAIRS_AT_ONCE + 1]) for start in starts]
    moved, weights = (np.concatenate(part) for part in zip(*parts, strict=True))
    rows, columns = ((side - BLOCK_SIZE) // BLOCK_STRIDE + 1 for side in (height, width))
    y, x = np.mgrid[:rows, :columns] * BLOCK_STRIDE + BLOCK_SIZE / 2
    centers = np.stack([x.ravel() - width / 2, y.ravel() - height / 2], axis=1)
    return _Blocks(centers, moved, weights, float(np.hypot(height, width)))


def _displacements(gray: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the displacements of blocks [T-1, N, 2] and their weights [T-1, N]; see `_Blocks`.

    With the spectra F and G of a block in two frames, the surface is the inverse transform of
    G conj(F) / |G conj(F)|; its peak lies at the displacement.
    """
    windows = torch.from_numpy(gray).unfold(1, BLOCK_SIZE, BLOCK_STRIDE)
    windows = windows.unfold(2, BLOCK_SIZE, BLOCK_STRIDE)  # [T, rows, columns, b, b]
    tiles = windows.flatten(1, 2)  # [T, N, b, b]
    tiles = tiles - tiles.mean((2, 3), keepdim=True)
    textured = tiles.square().mean((2, 3)) > MIN_TEXTURE**2  # [T, N]
    hann = torch.hann_window(BLOCK_SIZE, periodic=False)
    spectra = torch.fft.rfft2(tiles * hann * hann[:, None])
    cross = spectra[1:] * spectra[:-1].conj()
    surface = torch.fft.irfft2(cross / (cross.abs() + 1e-3), s=(BLOCK_SIZE, BLOCK_SIZE))
    moved, peaks = _peaks(surface.numpy())
    followed = (textured[1:] & textured[:-1]).numpy() & (peaks > MIN_PEAK)
    return moved, followed * peaks


def _peaks(surface: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Locate the highest point of each surface [T-1, N, b, b].

    Returns:
        x and y, [T-1, N, 2], pixels with fractions; and the heights, [T-1, N].
    """
    flat = rearrange(surface, "t n h w -> t n (h w)")  # [T-1, N, b b]
    best = flat.argmax(axis=2)
    heights = np.take_along_axis(flat, best[..., None], axis=2)[..., 0]
    y, x = np.divmod(best, BLOCK_SIZE)
    t, n = np.indices(best.shape)
    left, right = surface[t, n, y, (x - 1) % BLOCK_SIZE], surface[t, n, y, (x + 1) % BLOCK_SIZE]
    above, below = surface[t, n, (y - 1) % BLOCK_SIZE, x], surface[t, n, (y + 1) % BLOCK_SIZE, x]
    return np.stack(
        [_refine(x, left, heights, right), _refine(y, above, heights, below)], 2
    ), heights


def _refine(place: np.ndarray, low: np.ndarray, peak: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Refine a peak's position by the fraction side / (side + peak); the surface wraps around.

    A shift by a fraction of a pixel spreads the peak so (Foroosh, Zerubia and Berthod, 2002,
    eq. 14).
    """
    side = np.maximum(np.maximum(low, high), 0)
    fraction = side / (side + peak).clip(min=1e-9)
    exact = place + np.where(high > low, fraction, -fraction)
    return np.where(exact > BLOCK_SIZE / 2, exact - BLOCK_SIZE, exact)


def _fit_similarity(blocks: _Blocks, chosen: np.ndarray | None = None) -> np.ndarray:
    """Fit the camera's motion between neighboring frames, all pairs at once.

    Iteratively reweighted least squares of moved = (tx, ty) + s (x, y) + r (-y, x), with Cauchy
    weights 1 / (1 + (|error| / RESIDUAL_SCALE)^2).

    Returns:
        [T-1, 3]: tx and ty in pixels, and the relative growth s; NaN where too few blocks could be
        tracked.
    """
    part = slice(None) if chosen is None else chosen
    known = np.count_nonzero(blocks.weights[:, part], axis=1) >= MIN_TRACKED_BLOCKS
    moved, weights = blocks.moved[known][:, part], blocks.weights[known][:, part]
    x, y = blocks.centers[part].T
    one, zero = np.ones_like(x), np.zeros_like(x)
    rows = [np.stack([one, zero, x, -y], axis=1), np.stack([zero, one, y, x], axis=1)]
    system = np.concatenate(rows)  # [2 N, 4]
    target = rearrange(moved, "t n k -> t (k n)")  # [T-1, 2 N], x of all blocks, then y
    followed = np.where(weights[..., None] > 0, moved, np.nan)
    error = moved - np.nanmedian(followed, axis=1, keepdims=True)
    for _ in range(FIT_ROUNDS):
        trust = weights / (1 + (np.linalg.norm(error, axis=2) / RESIDUAL_SCALE) ** 2)
        trust = np.concatenate([trust, trust], axis=1)
        normal = (system.T * trust[:, None]) @ system + 1e-9 * np.eye(4)  # [T-1, 4, 4]
        fit = np.linalg.solve(normal, ((trust * target) @ system)[..., None])[..., 0]
        error = rearrange(target - fit @ system.T, "t (k n) -> t n k", k=2)  # [T-1, N, 2]
    motion = np.full((len(known), 3), np.nan)
    motion[known] = fit[:, :3]
    return motion
