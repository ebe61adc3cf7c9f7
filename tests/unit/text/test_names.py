"""Key names of CLIP: one table for both directions, which invert each other."""

from __future__ import annotations

import pytest
import torch
from support.models import rnd
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

from hummingbird_core.text.names import (
    CLIP_NAMES,
    TEXT_NAMES,
    openclip_to_transformers,
    transformers_to_openclip,
)

SIZE = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def clip() -> dict[str, torch.Tensor]:
    """All weights of transformers' CLIP, under its names."""
    config = CLIPConfig(
        text_config=CLIPTextConfig(**SIZE, vocab_size=16).to_dict(),
        vision_config=CLIPVisionConfig(**SIZE, image_size=8, patch_size=4).to_dict(),
        projection_dim=4,
    )
    with torch.device("meta"):
        shapes = CLIPModel(config).state_dict()
    return {
        key: rnd(key, value.shape) for key, value in shapes.items() if "position_ids" not in key
    }


def text_tower(clip: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    prefix = "text_model."
    return {key[len(prefix) :]: value for key, value in clip.items() if key.startswith(prefix)}


@pytest.mark.parametrize("names", [CLIP_NAMES, TEXT_NAMES], ids=["both towers", "text tower"])
def test_there_and_back_again(clip, names):
    weights = clip if names is CLIP_NAMES else text_tower(clip)
    openclip = transformers_to_openclip(weights, names)
    again = openclip_to_transformers(openclip, names)
    assert again.keys() == weights.keys()
    assert all(torch.equal(again[key], weights[key]) for key in weights)
    assert not any("layer_norm" in key or "encoder" in key or "_model" in key for key in openclip)


@pytest.mark.parametrize("names", [CLIP_NAMES, TEXT_NAMES], ids=["both towers", "text tower"])
def test_the_table_is_invertible(names):
    for side in zip(*names, strict=True):
        assert len(set(side)) == len(side)
    assert all(left.count("*") == right.count("*") for left, right in names)


def test_q_k_and_v_are_one_matrix_in_openclip(clip):
    openclip = transformers_to_openclip(clip, CLIP_NAMES)
    joint = openclip["visual.transformer.resblocks.1.attn.in_proj_weight"]
    attention = "vision_model.encoder.layers.1.self_attn"
    parts = [clip[f"{attention}.{letter}_proj.weight"] for letter in "qkv"]
    assert torch.equal(joint, torch.cat(parts))
    assert "ln_final.weight" in openclip
    assert "visual.ln_pre.bias" in openclip


def test_other_keys_keep_their_names():
    weights = {"logit_scale": torch.ones(())}
    assert openclip_to_transformers(weights, CLIP_NAMES) == weights
    assert transformers_to_openclip(weights, CLIP_NAMES) == weights
