"""LoRA files: every format, and the errors for files that don't match."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.loras import (
    LAYER,
    assert_same,
    flat_list,
    kohya_names,
    nano,
    peft_names,
    some_lora,
)
from support.models import relative_l2

from hummingbird_core.errors import CheckpointError, InputError, OutputError
from hummingbird_core.lora import convert_lora, load_lora, merge_lora, save_lora
from hummingbird_core.lora.formats import lora_targets
from hummingbird_core.unet import HummingbirdUNet


@pytest.fixture(scope="module")
def shapes() -> HummingbirdUNet:
    """A U-Net that no test changes."""
    return nano()


# --- Formats --------------------------------------------------------------------------------------


def test_targets_leave_out_conv1d(shapes):
    names = lora_targets(shapes)
    assert "init_attn.0.proj_in" not in names
    assert "init_attn.0.proj_out" not in names
    assert {LAYER, "time_cond_proj", "input_blocks.0.0", "out.2"} <= set(names)


def test_flat_list(shapes, tmp_path):
    lora = some_lora(shapes)
    torch.save([torch.nn.Parameter(t) for t in flat_list(lora)], tmp_path / "unet_lora.pt")
    got = load_lora(tmp_path / "unet_lora.pt", shapes)
    assert_same(got, lora)
    assert (got.format, got.rank, got.unused) == ("flat", 4, [])


@pytest.mark.parametrize("prefix", ["base_model.model.", "diffusion_model.", "unet.", ""])
@pytest.mark.parametrize("adapter", ["", ".default"])
def test_peft_endings(shapes, tmp_path, prefix, adapter):
    lora = some_lora(shapes)
    save_file(peft_names(lora, prefix, adapter), tmp_path / "lora.safetensors")
    got = load_lora(tmp_path / "lora.safetensors", shapes)
    assert_same(got, lora)
    assert got.format == ("comfyui" if prefix == "diffusion_model." else "peft")
    assert got.unused == []


def test_peft_folder_with_patterns(shapes, tmp_path):
    lora = some_lora(shapes)
    save_file(peft_names(lora), tmp_path / "adapter_model.safetensors")
    config = {"r": 4, "lora_alpha": 8, "alpha_pattern": {"out.2": 2, r"conv1\.2": 6}}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    scales = {name: w.scale for name, w in load_lora(tmp_path, shapes).weights.items()}
    assert scales["out.2"] == 0.5
    assert scales[LAYER] == 1.5
    assert scales["input_blocks.0.0"] == 2.0
    config["use_rslora"] = True
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    file = tmp_path / "adapter_model.safetensors"  # the file alone finds its settings as well
    assert load_lora(file, shapes).weights["input_blocks.0.0"].scale == 4.0


def test_kohya(shapes, tmp_path):
    lora = some_lora(shapes)
    save_file(kohya_names(lora, alpha=2.0), tmp_path / "kohya.safetensors")
    got = load_lora(tmp_path / "kohya.safetensors", shapes)
    assert_same(got, lora, scale=0.5)
    assert got.format == "kohya"


@pytest.mark.parametrize("format", ["comfyui", "peft"])
def test_saved_and_loaded(shapes, tmp_path, format):
    lora = some_lora(shapes, scale=0.75)
    save_lora(lora, tmp_path / "lora.safetensors", format)
    got = load_lora(tmp_path / "lora.safetensors", shapes)
    assert_same(got, lora, scale=0.75)
    assert got.format == format


def test_convert_to_the_names_of_comfyui(shapes, tmp_path):
    lora = some_lora(shapes)
    torch.save(flat_list(lora), tmp_path / "unet_lora.pt")
    meta = HummingbirdUNet(shapes.config, device="meta")
    convert_lora(tmp_path / "unet_lora.pt", tmp_path / "lora.safetensors", meta)
    tensors = load_file(tmp_path / "lora.safetensors")
    assert len(tensors) == 3 * len(lora.weights)
    for layer, weight in lora.weights.items():
        # What ComfyUI's LoRA loader computes for `diffusion_model.<layer>.weight`.
        up, down, alpha = (
            tensors[f"diffusion_model.{layer}.{part}"]
            for part in ("lora_up.weight", "lora_down.weight", "alpha")
        )
        delta = alpha / down.shape[0] * (up.flatten(1) @ down.flatten(1))
        like = shapes.get_submodule(layer).weight
        assert relative_l2(delta.reshape(like.shape), weight.delta(like)) < 1e-6


def test_saving_does_not_overwrite(shapes, tmp_path):
    lora = some_lora(shapes)
    save_lora(lora, tmp_path / "lora.safetensors")
    with pytest.raises(OutputError, match="exists already"):
        save_lora(lora, tmp_path / "lora.safetensors")
    save_lora(lora, tmp_path / "lora.safetensors", overwrite=True)
    with pytest.raises(InputError, match="got LoRA format 'flat'"):
        save_lora(lora, tmp_path / "other.safetensors", "flat")


# --- Files that don't fit -------------------------------------------------------------------------


def test_every_unused_key_is_reported_with_a_reason(shapes, tmp_path):
    tensors = kohya_names(some_lora(shapes), alpha=4.0)
    down = tensors["lora_unet_out_2.lora_down.weight"]
    extra = {
        "lora_te_text_model.lora_up.weight": torch.zeros(8, 4),
        "lora_te_text_model.lora_down.weight": torch.zeros(4, 8),
        "epoch": torch.zeros(1),
        "lora_unet_time_embed_0.dora_scale": torch.zeros(1),
        "lora_unet_out_2.lora_down.weight": down[:, :, :1].clone(),
    }
    removed = "lora_unet_time_embed_2.lora_up.weight"
    save_file(
        {k: v for k, v in (tensors | extra).items() if k != removed}, tmp_path / "l.safetensors"
    )
    lora = load_lora(tmp_path / "l.safetensors", shapes)
    reasons = dict(entry.split(": ", 1) for entry in lora.unused)
    assert reasons["lora_te_text_model.lora_up.weight"] == "no such layer in this U-Net"
    assert reasons["epoch"] == "not the weight of a LoRA"
    assert "not plain LoRA" in reasons["lora_unet_time_embed_0.lora_up.weight"]
    assert "other half is missing" in reasons["lora_unet_time_embed_2.lora_down.weight"]
    assert "expected (4, r) and (r, 32, 3, 3)" in reasons["lora_unet_out_2.lora_down.weight"]
    used = 3 * len(lora.weights)
    assert used + len(lora.unused) == len(tensors) + len(extra) - 2  # one removed, one replaced
    assert not {"time_embed.0", "time_embed.2", "out.2"} & set(lora.weights)


def test_list_for_another_model_is_named(shapes, tmp_path):
    torch.save([torch.zeros(1)] * 742, tmp_path / "unet_lora.pt")
    with pytest.raises(
        CheckpointError, match=r"got a LoRA list of 742 .* it fits hummingbird-0.9b"
    ):
        load_lora(tmp_path / "unet_lora.pt", shapes)
    torch.save([torch.zeros(1)] * 7, tmp_path / "unet_lora.pt")
    with pytest.raises(CheckpointError, match="fits no released model"):
        load_lora(tmp_path / "unet_lora.pt", shapes)


def test_list_with_wrong_shapes(shapes, tmp_path):
    tensors = flat_list(some_lora(shapes))
    for bad in (torch.zeros(3, 3), "text"):
        torch.save([*tensors[:2], bad, *tensors[3:]], tmp_path / "unet_lora.pt")
        with pytest.raises(CheckpointError, match=r"elements 2 and 3 for time_embed\.2"):
            load_lora(tmp_path / "unet_lora.pt", shapes)


class RunsCode:
    def __reduce__(self):
        return Path.write_text, (Path("ran"), "code")


@pytest.mark.parametrize("name", ["lora.safetensors", "lora.pt"])
def test_damaged_missing_and_unsafe_files(shapes, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / name
    with pytest.raises(CheckpointError, match="got no file"):
        load_lora(file, shapes)
    tensors = some_lora(shapes)
    if name.endswith(".pt"):
        torch.save(flat_list(tensors), file)
    else:
        save_lora(tensors, file)
    whole = file.read_bytes()
    cut = (whole[: len(whole) // 2], whole[:3])
    named = {b"": "is empty", b"<html>not found</html>": "is a web page"}
    for content, reason in {**dict.fromkeys(cut, "damaged"), **named}.items():
        file.write_bytes(content)
        with pytest.raises(CheckpointError, match=reason):
            load_lora(file, shapes)
    torch.save([RunsCode()], file)
    with pytest.raises(CheckpointError, match="none of it was run") as error:
        load_lora(file, shapes)
    assert "\n" not in str(error.value)
    assert not Path("ran").exists()


def test_nothing_fits(shapes, tmp_path):
    save_file({"weight": torch.zeros(2)}, tmp_path / "l.safetensors")
    with pytest.raises(CheckpointError, match="nothing fits this U-Net"):
        load_lora(tmp_path / "l.safetensors", shapes)
    torch.save("text", tmp_path / "l.pt")
    with pytest.raises(CheckpointError, match=r"got str in l\.pt"):
        load_lora(tmp_path / "l.pt", shapes)


def test_not_finite(shapes, tmp_path):
    lora = some_lora(shapes)
    lora.weights[LAYER].up[0] = float("nan")
    save_lora(lora, tmp_path / "l.safetensors")
    with pytest.raises(CheckpointError, match="got NaN or infinity"):
        load_lora(tmp_path / "l.safetensors", shapes)


def test_peft_settings_without_alpha(shapes, tmp_path):
    save_lora(some_lora(shapes), tmp_path, "peft")
    for damaged in ("{}", "{", "[]", '{"lora_alpha": null}'):
        (tmp_path / "adapter_config.json").write_text(damaged)
        with pytest.raises(CheckpointError, match="lora_alpha"):
            load_lora(tmp_path, shapes)


# --- The guidance layer whose base weight nobody has ----------------------------------------------


def teacher_file(tmp_path: Path, format: str) -> Path:
    """A LoRA that was trained on the teacher with a guidance input."""
    lora = some_lora(nano("nano-teacher", guidance_embedding=True))
    if format == "flat":
        torch.save(flat_list(lora), tmp_path / "unet_lora.pt")
        return tmp_path / "unet_lora.pt"
    save_lora(lora, tmp_path / "lora.safetensors")
    return tmp_path / "lora.safetensors"


@pytest.mark.parametrize("format", ["flat", "comfyui"])
def test_guidance_layer_is_left_out_of_a_teacher_without_it(tmp_path, caplog, format):
    unet = nano("nano-teacher")
    with caplog.at_level(logging.WARNING):
        lora = load_lora(teacher_file(tmp_path, format), unet)
    assert lora.unused
    assert all("time_cond_proj" in entry and "random" in entry for entry in lora.unused)
    assert "time_cond_proj" in caplog.text
    assert list(lora.weights) == list(lora_targets(unet))
    merge_lora(unet, lora)


def test_guidance_layer_of_a_teacher_is_warned_of(tmp_path, caplog):
    unet = nano("nano-teacher", guidance_embedding=True)
    with caplog.at_level(logging.WARNING):
        lora = load_lora(teacher_file(tmp_path, "flat"), unet)
    assert "time_cond_proj" in lora.weights
    assert "the output is random" in lora.warnings[0]
    assert "the output is random" in caplog.text


def test_no_warning_for_a_student(shapes, tmp_path, caplog):
    save_lora(some_lora(shapes), tmp_path / "l.safetensors")
    assert load_lora(tmp_path / "l.safetensors", shapes).warnings == []
    assert caplog.text == ""
