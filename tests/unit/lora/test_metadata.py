"""Metadata of a LoRA file, and the warning for another base model."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open
from support.loras import nano, some_lora

from hummingbird_core.checkpoints.info import checkpoint_info
from hummingbird_core.lora import convert_lora, load_lora, merge_lora, save_lora
from hummingbird_core.lora.metadata import (
    SAMPLE_KEY,
    TrainingFacts,
    base_sample,
    identify_base,
    training_metadata,
)

FACTS = TrainingFacts(
    "watercolour",
    "base.safetensors",
    "ab" * 32,
    rank=4,
    alpha=4,
    steps=500,
    trigger="wtrclr",
    clips=12,
    dataset_sha256="cd" * 32,
    settings={"rank": 4, "trigger": "wtrclr"},
)


@pytest.fixture(scope="module")
def unet():
    return nano()


@pytest.fixture
def file(unet, tmp_path):
    lora = some_lora(unet)
    lora.metadata = training_metadata(FACTS, unet)
    save_lora(lora, tmp_path / "watercolour.safetensors")
    return tmp_path / "watercolour.safetensors"


def test_the_file_holds_the_keys_that_others_read(file):
    with safe_open(file, "pt") as content:
        metadata = content.metadata()
    expected = {
        "modelspec.title": "watercolour",
        "modelspec.trigger_phrase": "wtrclr",
        "ss_network_dim": "4",
        "ss_network_alpha": "4",
        "ss_steps": "500",
        "ss_sd_model_name": "base.safetensors",
        "ss_new_sd_model_hash": "ab" * 32,
        "ss_num_train_images": "12",
        "hummingbird.dataset_sha256": "cd" * 32,
        "format": "pt",
    }
    assert {key: metadata[key] for key in expected} == expected
    assert json.loads(metadata["ss_tag_frequency"]) == {"clips": {"wtrclr": 12}}
    assert json.loads(metadata["hummingbird.settings"])["rank"] == 4


def test_loading_and_converting_keep_it(file, unet, tmp_path, caplog):
    assert load_lora(file, unet).trigger == "wtrclr"
    convert_lora(file, tmp_path / "peft", unet, "peft")
    again = load_lora(tmp_path / "peft", unet)
    assert again.trigger == "wtrclr"
    assert not again.warnings
    assert not caplog.records


def test_info_shows_it(file):
    info = checkpoint_info(file)
    assert info["lora"] == {"layers": len(some_lora(nano()).weights), "rank": 4}
    assert info["problem"] is None
    assert info["metadata"]["modelspec.trigger_phrase"] == "wtrclr"


def test_another_model_of_the_same_shapes_is_warned_of(file, caplog):
    other = nano()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    lora = load_lora(file, other)
    message = "it was trained on another model (base.safetensors, sha256 abababab)"
    assert [warning[: len(message)] for warning in lora.warnings] == [message]
    assert "watercolour.safetensors: it was trained on another model" in caplog.text


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_same_model_in_another_precision_is_the_same(file, dtype):
    assert not load_lora(file, nano().to(dtype)).warnings


def test_a_merged_lora_does_not_make_it_another_model(file, unet):
    merged = nano()
    merge_lora(merged, some_lora(merged, "b"), 3.0)
    assert base_sample(merged) == base_sample(unet)
    assert not load_lora(file, merged).warnings


def test_an_injected_lora_does_not_either(unet):
    pytest.importorskip("peft", reason="needs the extra train")
    from hummingbird_core.lora.layers import inject_lora

    injected = nano()
    inject_lora(injected, some_lora(injected))
    assert base_sample(injected) == base_sample(unet)


def test_weights_that_cannot_be_compared_are_not(file):
    with torch.device("meta"):
        empty = nano()
    assert base_sample(empty) == []
    assert not load_lora(file, empty).warnings


def test_files_of_other_trainers_say_nothing(unet, tmp_path):
    lora = some_lora(unet)
    lora.metadata = {SAMPLE_KEY: "no list", "ss_network_dim": "8"}
    save_lora(lora, tmp_path / "odd.safetensors")
    assert not load_lora(tmp_path / "odd.safetensors", unet).warnings


def test_the_base_is_named_by_its_file():
    name, digest = identify_base("nano")
    assert name.endswith(".safetensors")
    assert len(digest) == 64
    assert identify_base("hummingbird-nano") == ("hummingbird-nano", "")
