"""Measures in their fast forms against the definitions written out plainly.

Tolerances are those of 32-bit sums over values of 0..255, whose squares reach 65,025.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hummingbird_core.curation.stages.camera_motion import BLOCK_SIZE, _displacements
from hummingbird_core.curation.stages.clipping import HISTOGRAM_LEVELS, _look
from hummingbird_core.curation.stages.transitions import _halved
from hummingbird_core.vqa.measures.frames import blur, color_histogram
from hummingbird_core.vqa.measures.motion import (
    MATCH_BLOCK,
    MATCH_STRIDE,
    SEARCH_RANGE,
    _block_pixels,
    _differences,
    _refined_vectors,
    _slopes,
    block_means,
)

SIZES = [(64, 64), (48, 64), (37, 61), (8, 8), (9, 70)]


def images(count: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 255 * torch.rand(count, height, width, generator=generator)


@pytest.mark.parametrize("size", SIZES)
def test_block_means_are_those_of_pooling(size):
    some = images(5, *size)
    pooled = F.avg_pool2d(some[:, None], MATCH_BLOCK, MATCH_STRIDE).flatten(1)
    torch.testing.assert_close(block_means(some), pooled, rtol=1e-5, atol=0)


@pytest.mark.parametrize("size", SIZES)
def test_a_difference_belongs_to_each_shift(size):
    before, after = images(1, *size), images(1, *size, seed=1)
    found = _differences(before, after)
    padded = F.pad(after[None], (SEARCH_RANGE,) * 4, mode="replicate")[0, 0]
    side = 2 * SEARCH_RANGE + 1
    for shift in (0, 7, side * side // 2, side * side - 1):
        y, x = divmod(shift, side)
        moved = padded[y : y + size[0], x : x + size[1]]
        assert torch.equal(found[shift], moved - before[0])


@pytest.mark.parametrize("size", SIZES)
def test_fractions_solve_the_equations_of_lucas_and_kanade(size):
    """Blocks of noise differ from it by up to a pixel, so that some fractions are cut off."""
    before = images(1, *size)
    difference = _differences(before, before + 20 * images(1, *size, seed=1) / 255)
    pixels = _block_pixels(*size)
    best = torch.arange(len(pixels)) % len(difference)
    found = _refined_vectors(before, difference, best)
    for block, places in enumerate(pixels):
        slopes = torch.stack([s.flatten()[places] for s in _slopes(before[0])]).double()
        d = difference[best[block]].flatten()[places].double()
        matrix = slopes @ slopes.T + torch.eye(2, dtype=torch.float64) * len(places)
        fraction = torch.linalg.solve(matrix, -(slopes @ (d - d.mean()))).clamp(-0.5, 0.5)
        side = 2 * SEARCH_RANGE + 1
        whole = torch.tensor([best[block] // side, best[block] % side]) - SEARCH_RANGE
        torch.testing.assert_close(found[block].double(), whole + fraction, rtol=0, atol=1e-4)


@pytest.mark.parametrize("axis", [0, 1])
def test_blur_is_the_loss_by_an_average_of_nine_pixels(axis):
    y = images(1, 40, 40)[0].numpy()
    y = (y + np.roll(y, 1, axis) + 3 * np.roll(y, 2, axis)) / 5  # more blurred along this axis
    rows = np.moveaxis(y.astype(np.float64), axis, 0)
    smooth = np.stack([rows[i : i + 9].mean(axis=0) for i in range(len(rows) - 8)])
    sharp = np.abs(np.diff(rows[4:-4], axis=0))
    lost = np.maximum(0, sharp - np.abs(np.diff(smooth, axis=0)))
    assert blur(y) == pytest.approx(1 - lost.sum() / sharp.sum(), abs=1e-6)


def test_a_color_is_two_bits_of_each_channel():
    frame = np.random.default_rng(0).integers(0, 256, (130, 20, 3), dtype=np.uint8)
    shares = np.zeros((4, 4, 4))
    for red, green, blue in frame.reshape(-1, 3) // 64:
        shares[red, green, blue] += 1 / (130 * 20)
    np.testing.assert_allclose(color_histogram(frame), shares.ravel(), atol=1e-12)
    np.testing.assert_array_equal(color_histogram(frame + np.float32(0.9)), color_histogram(frame))


@pytest.mark.parametrize("size", [(4, 6), (5, 9)])
def test_halving_averages_two_by_two_pixels(size):
    image = images(3, *size)
    torch.testing.assert_close(_halved(image), F.avg_pool2d(image, 2), rtol=1e-6, atol=0)


def test_the_histograms_of_a_look_are_those_of_each_quarter_and_channel():
    frame = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    small = frame.astype(np.float32)
    levels = (small - small.mean()) / small.std() * (HISTOGRAM_LEVELS / 5) + HISTOGRAM_LEVELS / 2
    levels = levels.clip(0, HISTOGRAM_LEVELS - 1).astype(int)
    quarters = [
        levels[y : y + 20, x : x + 30, c] for y in (0, 20) for x in (0, 30) for c in (0, 1, 2)
    ]
    expected = [
        np.histogram(q, HISTOGRAM_LEVELS, (0, HISTOGRAM_LEVELS))[0].cumsum() / 600 for q in quarters
    ]
    np.testing.assert_allclose(_look(frame).histograms, expected, atol=1e-12)


def test_displacements_are_those_of_plain_phase_correlation():
    """One block, in double precision."""
    rng = np.random.default_rng(0)
    world = rng.uniform(0, 255, (80, 96)).astype(np.float32)
    gray = np.stack([world[t : t + 48, 2 * t : 2 * t + 64] for t in range(4)])
    moved, weights = _displacements(gray)
    window = np.outer(np.hanning(BLOCK_SIZE), np.hanning(BLOCK_SIZE))
    for pair in range(3):
        spectra = []
        for frame in gray[pair : pair + 2].astype(np.float64):
            tile = frame[16:48, 16:48]
            spectra.append(np.fft.fft2((tile - tile.mean()) * window))
        cross = spectra[1] * spectra[0].conj()
        surface = np.fft.ifft2(cross / (np.abs(cross) + 1e-3)).real
        middle = 3 + 1  # second row, second column of 2 x 3 blocks
        assert weights[pair, middle] == pytest.approx(surface.max(), abs=1e-4)
        assert moved[pair, middle] == pytest.approx((-2, -1), abs=0.2)
