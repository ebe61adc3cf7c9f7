"""How the camera moves: shake, zoom and dolly-zoom, without weights.

Between neighbouring frames the displacement of overlapping blocks is found by phase correlation
(Kuglin and Hines, 1975); a similarity transform fitted to them is the camera's motion. Blocks on
moving objects, which do not follow it, are weighted down.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from einops import rearrange

from .frames import gray_frames

CAMERA_COLUMNS = ("camera_speed", "camera_shake", "camera_zoom", "dolly_zoom")
LONG_SIDE = 128  # pixels that are looked at
BLOCK_SIZE, BLOCK_STRIDE = 32, 16
MIN_TEXTURE = (
    3.0  # standard deviation of a block's pixels, of 255; below it nothing can be followed
)
MIN_PEAK = 0.1  # of the phase correlation; below it the block has changed rather than moved
MIN_BLOCKS = 6  # that can be followed; with fewer there is no telling
FIT_ROUNDS = 4
RESIDUAL_SCALE = 0.5  # pixels; a block that misses the fit by more loses its weight


@dataclass(frozen=True)
class _Blocks:
    """Displaced blocks between neighbouring frames, for T-1 pairs and N blocks.

    Args:
        centres: [N, 2], x and y from the middle of the frame, pixels.
        moved: [T-1, N, 2], pixels.
        weights: [T-1, N], 0 where a block could not be followed.
        diagonal: of the frame, pixels.
    """

    centres: np.ndarray
    moved: np.ndarray
    weights: np.ndarray
    diagonal: float


def camera_motion(frames: np.ndarray, fps: float) -> dict[str, float]:
    """Columns of a clip; what cannot be told is left out: all of them for too small a picture.

    Between two frames that cannot be followed the camera counts as standing still.

    Args:
        frames: uint8 [T,H,W,3], T >= 2.
        fps: frames per second.

    Returns:
        camera_speed: mean length of the translation, in % of the diagonal a second.
        camera_shake: mean change of the translation from frame to frame, in % of the diagonal.
            A smooth pan has 0, however fast it is.
        camera_zoom: absolute mean growth of the picture, in % a second.
        dolly_zoom: absolute difference of that growth between the outer and the inner part, in %
            a second: a dolly zoom keeps the subject's size while its surroundings grow or shrink.
            Only frames in which both parts can be followed count.
    """
    gray = gray_frames(frames, LONG_SIDE)
    if min(gray.shape[1:]) < BLOCK_SIZE:  # a strip or an icon
        return {}
    blocks = _follow_blocks(gray)
    extent = np.abs(blocks.centres).max(axis=0).clip(min=1)
    outside = np.abs(blocks.centres / extent).max(axis=1) > 0.6
    return {
        **_whole_motion(_fit_similarity(blocks), blocks.diagonal, fps),
        **_dolly_zoom(_fit_similarity(blocks, ~outside), _fit_similarity(blocks, outside), fps),
    }


def _whole_motion(fit: np.ndarray, diagonal: float, fps: float) -> dict[str, float]:
    """Columns of the camera as a whole, from [T-1, 3] as `_fit_similarity` gives it."""
    if np.isnan(fit).all():
        return {}
    motion = np.nan_to_num(fit)
    translation = motion[:, :2] * 100 / diagonal
    jumps = np.linalg.norm(np.diff(translation, axis=0), axis=1)
    return {
        "camera_speed": float(np.linalg.norm(translation, axis=1).mean() * fps),
        **({"camera_shake": float(jumps.mean())} if len(jumps) else {}),
        "camera_zoom": float(abs(100 * fps * motion[:, 2].mean())),
    }


def _dolly_zoom(inner: np.ndarray, outer: np.ndarray, fps: float) -> dict[str, float]:
    """From the fits of both parts, [T-1, 3] each."""
    differences = outer[:, 2] - inner[:, 2]
    known = differences[~np.isnan(differences)]
    return {"dolly_zoom": float(abs(100 * fps * known.mean()))} if len(known) else {}


def _follow_blocks(gray: np.ndarray) -> _Blocks:
    """Displacements of the blocks of `gray`, float32 [T,h,w], by phase correlation."""
    height, width = gray.shape[1:]
    windows = np.lib.stride_tricks.sliding_window_view(gray, (BLOCK_SIZE, BLOCK_SIZE), axis=(1, 2))
    windows = windows[:, ::BLOCK_STRIDE, ::BLOCK_STRIDE]
    rows, columns = windows.shape[1:3]
    tiles = rearrange(windows, "t r c h w -> t (r c) h w")
    tiles = tiles - tiles.mean(axis=(2, 3), keepdims=True)
    textured = tiles.std(axis=(2, 3)) > MIN_TEXTURE  # [T,N]
    hann = np.hanning(BLOCK_SIZE).astype(np.float32)
    spectra = np.fft.rfft2(tiles * np.outer(hann, hann))
    cross = spectra[1:] * spectra[:-1].conj()
    surface = np.fft.irfft2(cross / (np.abs(cross) + 1e-3), s=(BLOCK_SIZE, BLOCK_SIZE))
    moved, peaks = _peaks(surface)
    followed = textured[1:] & textured[:-1] & (peaks > MIN_PEAK)
    y, x = np.mgrid[:rows, :columns] * BLOCK_STRIDE + BLOCK_SIZE / 2
    centres = np.stack([x.ravel() - width / 2, y.ravel() - height / 2], axis=1)
    return _Blocks(centres, moved, followed * peaks, float(np.hypot(height, width)))


def _peaks(surface: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Place [.., 2] (x, y; pixels, with fractions) and height [..] of the highest points."""
    flat = rearrange(surface, "t n h w -> t n (h w)")
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
    """A peak's place with its fraction, side / (side + peak), as a shift of a fraction of a pixel
    spreads it (Foroosh, Zerubia and Berthod, 2002, eq. 14); the surface wraps around."""
    side = np.maximum(np.maximum(low, high), 0)
    fraction = side / (side + peak).clip(min=1e-9)
    exact = place + np.where(high > low, fraction, -fraction)
    return np.where(exact > BLOCK_SIZE / 2, exact - BLOCK_SIZE, exact)


def _fit_similarity(blocks: _Blocks, chosen: np.ndarray | None = None) -> np.ndarray:
    """[T-1, 3]: translation in x and y (pixels) and relative growth between neighbouring frames.

    Iteratively reweighted least squares of moved = (tx, ty) + s (x, y) + r (-y, x), all pairs of
    frames at once; NaN where too few blocks could be followed.
    """
    part = slice(None) if chosen is None else chosen
    known = np.count_nonzero(blocks.weights[:, part], axis=1) >= MIN_BLOCKS
    moved, weights = blocks.moved[known][:, part], blocks.weights[known][:, part]
    x, y = blocks.centres[part].T
    one, zero = np.ones_like(x), np.zeros_like(x)
    rows = [np.stack([one, zero, x, -y], axis=1), np.stack([zero, one, y, x], axis=1)]
    system = np.concatenate(rows)  # [2 N, 4]
    target = rearrange(moved, "t n k -> t (k n)")
    followed = np.where(weights[..., None] > 0, moved, np.nan)
    error = moved - np.nanmedian(followed, axis=1, keepdims=True)
    for _ in range(FIT_ROUNDS):
        trust = weights / (1 + (np.linalg.norm(error, axis=2) / RESIDUAL_SCALE) ** 2)
        trust = np.concatenate([trust, trust], axis=1)
        normal = (system.T * trust[:, None]) @ system + 1e-9 * np.eye(4)  # [T-1, 4, 4]
        fit = np.linalg.solve(normal, ((trust * target) @ system)[..., None])[..., 0]
        error = rearrange(target - fit @ system.T, "t (k n) -> t n k", k=2)
    motion = np.full((len(known), 3), np.nan)
    motion[known] = fit[:, :3]
    return motion
