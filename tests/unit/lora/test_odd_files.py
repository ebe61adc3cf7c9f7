"""LoRA files as other tools write them, and values that cannot be meant: right, or refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from support.loras import (
    LAYER,
    assert_bitwise,
    assert_same,
    kohya_names,
    nano,
    peft_names,
    weights_of,
)
from support.loras import some_lora as make_lora

from hummingbird_core.errors import CheckpointError, InputError
from hummingbird_core.lora import LoRA, convert_lora, load_lora, merge_lora, save_lora
from hummingbird_core.unet import HummingbirdUNet

BAD_SAMPLES = ["[" * 100_000, "[1e400]", "[[1]]", '"x"', "[1" + "0" * 400 + "]"]
LABEL = "lora_unet_" + LAYER.replace(".", "_")


@pytest.fixture(scope="module")
def unet() -> HummingbirdUNet:
    """A U-Net that no test changes."""
    return nano()


@pytest.fixture(scope="module")
def some(unet) -> LoRA:
    """A LoRA of rank 4 on three layers."""
    lora = make_lora(unet)
    return LoRA({name: lora.weights[name] for name in ("time_embed.0", LAYER, "out.2")}, "new")


def refusal(path: Path, unet: HummingbirdUNet) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_lora(path, unet)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 800
    with pytest.raises(CheckpointError):  # nothing of it gets into another file
        convert_lora(path, path.parent / "converted.safetensors", unet)
    return str(caught.value)


# --- names and kinds of files ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.safetensors", "a.sft", "a.pt", "a"])
@pytest.mark.parametrize("save", [save_file, torch.save])
def test_the_content_tells_the_kind_of_file(unet, some, tmp_path, name, save):
    save(kohya_names(some, 2.0), tmp_path / name)
    assert_same(load_lora(tmp_path / name, unet), some, scale=0.5)


@pytest.mark.parametrize("prefix", ["model.diffusion_model.", "module.", "base_model.model.unet."])
def test_more_prefixes(unet, some, tmp_path, prefix):
    save_file(peft_names(some, prefix), tmp_path / "l.safetensors")
    got = load_lora(tmp_path / "l.safetensors", unet)
    assert_same(got, some)
    assert got.unused == []


def test_a_pointer_of_git_lfs_is_called_one(unet, tmp_path):
    (tmp_path / "l").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\n")
    reason = refusal(tmp_path / "l", unet)
    assert "Git LFS pointer" in reason
    assert "damaged" not in reason


def test_a_web_page_is_called_one(unet, tmp_path):
    (tmp_path / "l").write_text("<!doctype html><title>Sign in</title>")
    reason = refusal(tmp_path / "l", unet)
    assert "is a web page" in reason
    assert "damaged" not in reason


def test_two_sets_of_names_or_adapters_are_refused(unet, some, tmp_path):
    again = {key: value.clone() for key, value in peft_names(some).items()}
    save_file({**kohya_names(some, 4.0), **again}, tmp_path / "l")
    assert "two LoRAs for" in refusal(tmp_path / "l", unet)
    save_file({**again, **peft_names(some, adapter=".default")}, tmp_path / "l")
    assert "expected one adapter" in refusal(tmp_path / "l", unet)


# --- dtypes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_float8_is_read_exactly(unet, some, tmp_path, dtype):
    stored = {key: value.to(dtype) for key, value in kohya_names(some, 4.0).items()}
    save_file(stored, tmp_path / "l")
    for layer, weight in load_lora(tmp_path / "l", unet).weights.items():
        label = "lora_unet_" + layer.replace(".", "_")
        assert torch.equal(weight.up.float(), stored[f"{label}.lora_up.weight"].float())
        assert weight.scale == 1.0


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int64, torch.bool])
def test_integers_are_refused_by_name(unet, some, tmp_path, dtype):
    save_file({key: value.to(dtype) for key, value in peft_names(some).items()}, tmp_path / "l")
    kind = str(dtype).removeprefix("torch.")
    assert f"stored as {kind}" in refusal(tmp_path / "l", unet)


@pytest.mark.parametrize(
    "change",
    [
        lambda up: up.to(torch.complex64),
        lambda up: up.to_sparse(),
        lambda up: up.to("meta"),
        lambda up: up[:1, :1].expand(1 << 20, 1 << 20),
    ],
    ids=["complex", "sparse", "meta", "expanded"],
)
def test_other_tensors_are_refused(unet, some, tmp_path, change):
    names = peft_names(some)
    key = "base_model.model.time_embed.0.lora_B.weight"
    torch.save({key: change(names[key]), key.replace("B", "A"): names[key]}, tmp_path / "l.pt")
    refusal(tmp_path / "l.pt", unet)


# --- alpha ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "alpha",
    [float("nan"), float("inf"), -1.0, 0.0, 1e38, 1e-45, [1.0, 2.0], [], True, 2**62],
    ids=str,
)
def test_alphas_that_cannot_be_meant(unet, some, tmp_path, alpha):
    save_file({**kohya_names(some, 4.0), f"{LABEL}.alpha": torch.tensor(alpha)}, tmp_path / "l")
    message = refusal(tmp_path / "l", unet)
    assert "got alpha" in message
    assert LAYER in message


def test_an_alpha_that_is_no_number_is_named_by_its_kind(unet, some, tmp_path):
    kinds = {True: "a bool tensor of shape []", (1.0, 2.0): "a float32 tensor of shape [2]"}
    for alpha, shown in kinds.items():
        save_file({**kohya_names(some, 4.0), f"{LABEL}.alpha": torch.tensor(alpha)}, tmp_path / "l")
        assert f"got alpha {shown} for" in refusal(tmp_path / "l", unet)


@pytest.mark.parametrize(
    "header",
    [
        {"lora_alpha": "16", "r": "4"},
        {"lora_alpha": "16.0"},
        {"network_alpha": "16"},
        {"lora_adapter_metadata": json.dumps({"unet.lora_alpha": 16, "unet.r": 4})},
        {"lora_adapter_metadata": json.dumps({"lora_alpha": 16, "text_encoder.r": 8})},
    ],
    ids=str,
)
def test_alpha_in_the_header(unet, some, tmp_path, header):
    save_file(peft_names(some, "diffusion_model."), tmp_path / "l", metadata=header)
    assert_same(load_lora(tmp_path / "l", unet), some, scale=4.0)


def test_alpha_of_a_layer_comes_before_the_header(unet, some, tmp_path):
    tensors = kohya_names(some, 2.0)
    header = {"ss_network_alpha": "16", "ss_network_dim": "4"}
    save_file(tensors, tmp_path / "l", metadata=header)
    assert_same(load_lora(tmp_path / "l", unet), some, scale=0.5)
    del tensors[f"{LABEL}.alpha"]
    save_file(tensors, tmp_path / "l", metadata=header)
    assert load_lora(tmp_path / "l", unet).weights[LAYER].scale == 4.0


@pytest.mark.parametrize(
    "header",
    [
        {"lora_alpha": "nan"},
        {"lora_alpha": "16", "r": "8"},
        {"lora_alpha": "much"},
        {"lora_alpha": "16", "r": "4.5"},
        {"lora_adapter_metadata": "["},
        {"lora_adapter_metadata": json.dumps({"unet.lora_alpha": 16, "unet.use_dora": True})},
    ],
    ids=str,
)
def test_headers_without_a_usable_alpha(unet, some, tmp_path, header):
    save_file(peft_names(some, "diffusion_model."), tmp_path / "l", metadata=header)
    refusal(tmp_path / "l", unet)


def test_kohya_s_keys_do_not_count_for_names_of_peft(unet, some, tmp_path):
    some.metadata = {"ss_network_alpha": "64", "ss_network_dim": "64"}  # as `train lora` writes
    save_lora(some, tmp_path / "peft", "peft")
    some.metadata = {}
    shutil.move(tmp_path / "peft" / "adapter_model.safetensors", tmp_path / "moved.safetensors")
    assert_same(load_lora(tmp_path / "moved.safetensors", unet), some)


# --- PEFT's settings ------------------------------------------------------------------------------


def peft_folder(folder: Path, lora: LoRA, settings: str) -> Path:
    save_file(peft_names(lora), folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(settings)
    return folder


BAD_SETTINGS = {
    "use_dora": {"use_dora": True},
    "lora_bias": {"lora_bias": True},
    "fan_in_fan_out": {"fan_in_fan_out": True},
    "use_rslora": {"use_rslora": "no"},
    "peft_type": {"peft_type": "LOHA"},
    "init_lora_weights": {"init_lora_weights": "pissa_niter_4"},
    "rank 9": {"r": 9},
    "rank 2": {"r": 4, "rank_pattern": {"out.2": 2}},
    "lora_alpha": {"lora_alpha": "4"},
    "alpha_pattern": {"alpha_pattern": [1]},
    "alpha_pattern for '('": {"alpha_pattern": {"(": 1}},
    "names of layers": {"alpha_pattern": {"((([a-z])+)+)+Z": 1}},
    "alpha_pattern has": {"alpha_pattern": {"out.2": "x"}},
}


@pytest.mark.parametrize("name", BAD_SETTINGS)
def test_settings_that_change_the_result_are_refused_by_name(unet, some, tmp_path, name):
    settings = json.dumps({"lora_alpha": 4, **BAD_SETTINGS[name]})
    assert name in refusal(peft_folder(tmp_path, some, settings), unet)


@pytest.mark.parametrize(
    "text",
    ['{"lora_alpha": NaN}', '{"lora_alpha": 1' + "0" * 400 + "}", "[1]", "5", "[" * 100_000],
    ids=range(5),
)
def test_texts_that_are_no_settings(unet, some, tmp_path, text):
    refusal(peft_folder(tmp_path, some, text), unet)


def test_patterns_of_ranks_and_alphas_are_right(unet, some, tmp_path):
    settings = {
        "lora_alpha": 4,
        "r": 8,
        "rank_pattern": {"out.2": 4, "time_embed.0": 4, r"conv1\.2$": 4},
        "alpha_pattern": {"^out.2": 8, "^embed.0": 2, "embed.0": 99},
        "use_dora": False,
        "base_model_name_or_path": None,
    }
    lora = load_lora(peft_folder(tmp_path, some, json.dumps(settings)), unet)
    scales = {name: weight.scale for name, weight in lora.weights.items()}
    assert scales == {"time_embed.0": 1.0, LAYER: 1.0, "out.2": 2.0}


# --- strengths and sums ---------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [float("nan"), float("inf"), 1e300, -1e6, 101])
def test_strengths_that_cannot_be_meant(unet, some, strength):
    before = weights_of(unet)
    with pytest.raises(InputError, match="got LoRA strength"):
        merge_lora(unet, some, strength)
    assert_bitwise(unet, before)


def test_products_beyond_float32_are_refused(unet, some, tmp_path):
    for dtype, factor in ((torch.float32, 1e30), (torch.float64, 1e200)):
        big = {key: value.to(dtype) * factor for key, value in peft_names(some).items()}
        save_file(big, tmp_path / "l")
        assert "beyond float32" in refusal(tmp_path / "l", unet)


def test_a_sum_that_is_not_finite_changes_nothing(some):
    unet = nano().half()
    merge_lora(unet, some, 0.5)
    before = weights_of(unet)
    big = LoRA({name: w._replace(scale=1e6) for name, w in some.weights.items()}, "new")
    with pytest.raises(CheckpointError, match=r"infinite in torch\.float16"):
        merge_lora(unet, big)
    assert_bitwise(unet, before)
    assert [merged.lora for merged in unet.lora_stack.merged] == [some]


@pytest.mark.parametrize("sample", BAD_SAMPLES, ids=range(len(BAD_SAMPLES)))
def test_a_damaged_sample_of_the_base_model_is_ignored(unet, some, tmp_path, sample):
    save_file(peft_names(some), tmp_path / "l", metadata={"hummingbird.base_sample": sample})
    assert load_lora(tmp_path / "l", unet).warnings == []
