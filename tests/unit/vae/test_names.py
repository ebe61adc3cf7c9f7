"""Key names of the VAE: one table for both directions, which invert each other."""

from __future__ import annotations

import pytest
import torch
from support.models import manifest, tiny_vae

from hummingbird_core.vae.names import KEY_FRAGMENTS, diffusers_to_ldm, ldm_to_diffusers


@pytest.mark.parametrize("attention", [True, False])
def test_from_diffusers_there_and_back_again(attention):
    weights = tiny_vae(8, 16, mid_block_add_attention=attention).state_dict()
    again = ldm_to_diffusers(diffusers_to_ldm(weights))
    assert again.keys() == weights.keys()
    assert all(torch.equal(again[key], weights[key]) for key in weights)


def test_from_stable_diffusion_there_and_back_again():
    shapes = {key.removeprefix("first_stage_model."): s for key, s in manifest("vae").items()}
    weights = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    again = diffusers_to_ldm(ldm_to_diffusers(weights))
    assert {key: list(value.shape) for key, value in again.items()} == shapes


def test_the_table_is_invertible():
    for side in zip(*KEY_FRAGMENTS, strict=True):
        assert len(set(side)) == len(side)
