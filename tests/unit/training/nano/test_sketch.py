"""The sketch of a text: least squares find the closest one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from hummingbird_core.training.data.nano_clips import NanoClips
from hummingbird_core.training.nano.sketch import (
    BATCH,
    CAPTION_DROPOUT,
    coefficients,
    fit_text_sketch,
)
from hummingbird_core.training.nano.text import build_text_encoder
from hummingbird_core.unet import UNetConfig
from hummingbird_core.unet.sketch import TextSketch, space_waves

SEED = 3


@pytest.fixture(scope="module")
def fitted():
    torch.manual_seed(0)
    encoder = build_text_encoder().eval()
    sketch = TextSketch(UNetConfig.from_preset("nano-teacher"), nn)
    fit_text_sketch(sketch, encoder, seed=SEED, count=2 * BATCH)
    return sketch, encoder


def clips_and_sketches(sketch, encoder) -> tuple[Tensor, Tensor]:
    """The clips of the regression; their coefficients are all that a sketch can change."""
    source = NanoClips(seed=SEED, caption_dropout=CAPTION_DROPOUT, loops=False)
    batches = [source.batch(number, size=BATCH) for number in range(2)]
    with torch.no_grad():
        drawn = [
            sketch.draw(encoder.encode(b.captions).embeddings, b.fps, (16, 8, 8)) for b in batches
        ]
    clips = torch.cat([b.latents for b in batches])
    return coefficients(clips), coefficients(torch.cat(drawn).transpose(1, 2))


def test_no_scaled_sketch_is_closer(fitted):
    clips, sketches = clips_and_sketches(*fitted)
    errors = [(clips - scale * sketches).square().mean() for scale in (0.0, 0.98, 1.0, 1.02)]
    assert errors[2] < min(errors[1], errors[3])
    assert errors[2] < 0.7 * errors[0]


def test_waves_are_found_in_clips_made_of_them():
    weights = torch.randn(1, 4, 2, 7)
    clip = torch.einsum("bctu,uhw->bcthw", weights, space_waves(8, 8))
    found = coefficients(clip).view(1, 2, 7, 4)
    torch.testing.assert_close(found, weights.permute(0, 2, 3, 1), atol=1e-5, rtol=0)
