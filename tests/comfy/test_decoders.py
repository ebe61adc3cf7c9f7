"""The built-in model's smaller decoders in Decode: the frames of the command line."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.models import relative_l2, rnd

from hummingbird_core.vae.tiny import load_fast_decoder

LATENTS = (2, 4, 3, 8, 8)


def decoded(node_classes: dict, vae: Any, *decoder: str) -> torch.Tensor:
    samples = {"samples": rnd("latents", LATENTS)}
    with torch.inference_mode():
        return node_classes["HummingbirdDecode"].execute(samples, vae, 8.0, *decoder).args[0]


def test_the_tiny_decoder_gives_the_frames_of_the_library(node_classes, nano):
    tiny = load_fast_decoder("tiny")
    latents = rnd("latents", LATENTS).transpose(1, 2).flatten(0, 1)
    with torch.inference_mode():
        expected = (tiny.decode(latents).sample / 2 + 0.5).clamp(0, 1).movedim(1, -1)
    got = decoded(node_classes, nano.vae, "tiny")
    assert got.shape == (6, 64, 64, 3)
    assert relative_l2(got, expected) <= 1e-5
    full = decoded(node_classes, nano.vae)
    assert torch.equal(full, decoded(node_classes, nano.vae, "full"))
    assert relative_l2(got, full) > 1e-3


def test_a_decoder_of_another_model_is_refused(node_classes, nano, monkeypatch):
    monkeypatch.setattr(nano.vae.first_stage_model, "scaling_factor", 0.18215)
    with pytest.raises(Exception, match="got tiny for another model, expected the built-in one"):
        decoded(node_classes, nano.vae, "tiny")
