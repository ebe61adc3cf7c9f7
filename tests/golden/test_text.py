"""The ViT-H text tower with golden weights and CLIP's tokens (file i_text)."""

from __future__ import annotations

import json

import pytest
import torch
from support.models import GOLDEN, det_state_dict, golden, manifest, relative_l2

from hummingbird_core.text.encoder import TextEncoder, load_text_encoder

TOLERANCE = 1e-5
PREFIX = "cond_stage_model.model."


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    shapes = manifest("text_openclip_vit_h14")
    return load_text_encoder(det_state_dict(shapes, PREFIX)).requires_grad_(False)


@pytest.fixture(scope="module")
def expected() -> dict[str, torch.Tensor]:
    return golden("i_text")


@pytest.fixture(scope="module")
def prompts() -> list[str]:
    return json.loads((GOLDEN / "index.json").read_text())["i_text"]["prompts"]


def test_tokens_equal_openclip(encoder, prompts, expected):
    ids = torch.tensor([prompt.ids for prompt in encoder.tokenize(prompts)])
    assert torch.equal(ids, expected["tokens"].long())


def test_embeddings_equal_the_original(encoder, expected):
    z = encoder.encode_tokens(expected["tokens"])
    ramp = torch.cos(0.37 * torch.arange(z.shape[-1], dtype=torch.float64))
    got = {
        "z_first8": z[..., :8],
        "z_token_mean": z.mean(-1),
        "z_token_std": z.std(-1),
        "z_token_l2": z.norm(dim=-1),
        "z_dot_ramp": z.double() @ ramp,
        "z_corgi_full_tokens_0_1_2_3_76": z[0, [0, 1, 2, 3, 76]],
    }
    distances = {name: relative_l2(value, expected[name]) for name, value in got.items()}
    assert max(distances.values()) <= TOLERANCE, distances


def test_one_prompt_alone_gives_the_same(encoder, expected):
    z = encoder.encode("a corgi").embeddings
    assert relative_l2(z[..., :8], expected["z_corgi_alone_first8"]) <= TOLERANCE
