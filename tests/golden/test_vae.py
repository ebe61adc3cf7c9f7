"""The VAE with golden weights against the original decoder (files h_*)."""

from __future__ import annotations

import pytest
import torch
from support.models import det_state_dict, golden, manifest, relative_l2, rnd

from hummingbird_core.vae import decode_latents, diffusers_to_ldm, load_vae

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return det_state_dict(manifest("vae"), "first_stage_model.")


@pytest.fixture(scope="module")
def vae(weights):
    return load_vae(weights).requires_grad_(False)


def test_decodes_a_video_as_the_original_does(vae):
    video = decode_latents(vae, rnd("input:z", (1, 4, 3, 8, 8)), decode_chunk_size=2)
    assert relative_l2(video, golden("h_vae_decode")["out"]) <= TOLERANCE


def test_decodes_one_unscaled_frame_as_the_original_does(vae):
    image = vae.decode(rnd("input:z", (1, 4, 8, 8))).sample
    assert relative_l2(image, golden("h_vae_decode_1frame_trace")["out"]) <= TOLERANCE


def test_converts_back_to_the_very_same_checkpoint(vae, weights):
    converted = diffusers_to_ldm(vae.state_dict())
    assert converted.keys() == weights.keys()
    assert all(torch.equal(converted[key], value) for key, value in weights.items())
