"""LoRA: every file format, exact merging and undoing, and what is said of files that don't fit."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from helpers import det, relative_l2, rnd
from safetensors.torch import load_file, save_file

from hummingbird_core.errors import CheckpointError, InputError, OutputError
from hummingbird_core.lora import LoRA, convert_lora, load_lora, merge_lora, save_lora
from hummingbird_core.lora_formats import LoRAWeight, lora_targets
from hummingbird_core.lora_training import inject_lora, lora_from_peft, new_lora
from hummingbird_core.unet import HummingbirdUNet, UNetConfig

LAYER = "input_blocks.1.0.temopral_conv.conv1.2"  # a (3, 1, 1) convolution


def nano(preset: str = "hummingbird-nano", **changes) -> HummingbirdUNet:
    torch.manual_seed(0)
    return HummingbirdUNet(UNetConfig.from_preset(preset, **changes)).eval()


@pytest.fixture(scope="module")
def shapes() -> HummingbirdUNet:
    """A U-Net that no test changes."""
    return nano()


def some_lora(unet: HummingbirdUNet, name: str = "a", scale: float = 1.0) -> LoRA:
    weights = {}
    for layer, (up, down, _) in new_lora(unet, rank=4, alpha=4).weights.items():
        factors = 0.1 * det(f"{name}.{layer}.up", up.shape), det(f"{name}.{layer}.down", down.shape)
        weights[layer] = LoRAWeight(*factors, scale)
    return LoRA(weights, "new")


def flat_list(lora: LoRA) -> list[torch.Tensor]:
    return [tensor for weight in lora.weights.values() for tensor in (weight.up, weight.down)]


def peft_names(lora: LoRA, prefix: str = "base_model.model.", adapter: str = "") -> dict:
    return {
        f"{prefix}{layer}.lora_{part}{adapter}.weight": tensor
        for layer, (up, down, _) in lora.weights.items()
        for part, tensor in (("B", up), ("A", down))
    }


def kohya_names(lora: LoRA, alpha: float) -> dict:
    tensors = {}
    for layer, (up, down, _) in lora.weights.items():
        label = "lora_unet_" + layer.replace(".", "_")
        tensors[f"{label}.lora_up.weight"] = up
        tensors[f"{label}.lora_down.weight"] = down
        tensors[f"{label}.alpha"] = torch.tensor(alpha)
    return tensors


def assert_same(got: LoRA, expected: LoRA, scale: float = 1.0) -> None:
    assert list(got.weights) == list(expected.weights)
    for layer, weight in got.weights.items():
        assert weight.scale == pytest.approx(scale)
        assert torch.equal(weight.up, expected.weights[layer].up)
        assert torch.equal(weight.down, expected.weights[layer].down)


def weights_of(unet: HummingbirdUNet) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in unet.state_dict().items()}


def assert_bitwise(unet: HummingbirdUNet, expected: dict[str, torch.Tensor]) -> None:
    assert all(torch.equal(value, expected[name]) for name, value in unet.state_dict().items())


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
    for damaged in (whole[: len(whole) // 2], whole[:3], b"", b"<html>not found</html>"):
        file.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="damaged"):
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


# --- Merging --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_merge_adds_the_product_and_undoes_exactly(dtype):
    unet = nano().to(dtype)
    lora, before = some_lora(unet), weights_of(unet)
    merge_lora(unet, lora, strength=0.7)
    for layer, (up, down, _) in lora.weights.items():
        base = before[f"{layer}.weight"]
        delta = (up.flatten(1) @ down.flatten(1)).reshape(base.shape)
        expected = (base.float() + 0.7 * delta).to(dtype)
        assert relative_l2(unet.get_submodule(layer).weight.detach(), expected) < 1e-6
    merge_lora(unet, lora, strength=-0.7)
    assert_bitwise(unet, before)
    assert not hasattr(unet, "lora_stack")


def test_strengths_add_up():
    unet, other = nano(), nano()
    lora, before = some_lora(unet), weights_of(unet)
    merge_lora(unet, lora, 0.1)
    merge_lora(unet, lora, 0.2)
    merge_lora(other, lora, 0.3)
    weights = (model.get_submodule(LAYER).weight.detach() for model in (unet, other))
    assert relative_l2(*weights) < 1e-6
    merge_lora(unet, lora, -0.3)
    assert_bitwise(unet, before)


def test_two_loras_are_undone_in_any_order(tmp_path):
    unet = nano()
    first, second, before = some_lora(unet, "a"), some_lora(unet, "b"), weights_of(unet)
    del second.weights[LAYER]
    merge_lora(unet, second, 0.5)
    only_second = weights_of(unet)
    merge_lora(unet, second, -0.5)
    merge_lora(unet, first)
    merge_lora(unet, second, 0.5)
    merge_lora(unet, first, -1.0)
    assert_bitwise(unet, only_second)
    merge_lora(unet, second, -0.5)
    assert_bitwise(unet, before)


def test_a_file_read_twice_is_one_lora(tmp_path):
    unet = nano()
    before = weights_of(unet)
    save_lora(some_lora(unet), tmp_path / "l.safetensors")
    merge_lora(unet, load_lora(tmp_path / "l.safetensors", unet))
    merge_lora(unet, load_lora(tmp_path / "l.safetensors", unet), -1.0)
    assert_bitwise(unet, before)


def test_negative_zero_survives():
    unet = nano()
    lora, weight = some_lora(unet), unet.get_submodule(LAYER).weight
    weight.data.fill_(-0.0)
    merge_lora(unet, lora)
    merge_lora(unet, lora, -1.0)
    assert torch.signbit(weight).all()


def test_merging_leaves_the_checkpoint_keys_alone():
    unet = nano()
    keys = list(unet.state_dict())
    merge_lora(unet, some_lora(unet))
    assert list(unet.state_dict()) == keys


def test_merge_errors_change_nothing():
    unet = nano()
    before = weights_of(unet)
    with pytest.raises(InputError, match="got LoRA strength nan"):
        merge_lora(unet, some_lora(unet), float("nan"))
    with pytest.raises(CheckpointError, match="this U-Net lacks"):
        merge_lora(unet, some_lora(nano("nano-teacher")))
    assert_bitwise(unet, before)
    assert not hasattr(unet, "lora_stack")


# --- Training -------------------------------------------------------------------------------------


def forward(unet: HummingbirdUNet) -> torch.Tensor:
    context = rnd("context", (1, 77, unet.config.context_dim))
    guidance = rnd("guidance", (1, 256))
    return unet(rnd("x", (1, 4, 3, 8, 8)), 500, context, fps=8, timestep_cond=guidance)


def test_injected_equals_merged():
    merged, injected = nano(), nano()
    lora = some_lora(merged, scale=0.5)
    merge_lora(merged, lora)
    inject_lora(injected, lora, dropout=0.5)  # off, since the U-Net is in eval mode
    with torch.inference_mode():
        assert relative_l2(forward(injected), forward(merged)) < 1e-5
    assert_same(lora_from_peft(injected), lora, scale=0.5)


def test_new_lora_changes_nothing_and_is_all_that_trains():
    unet = nano()
    before = forward(unet).detach()
    lora = new_lora(unet, rank=8, alpha=8, generator=torch.Generator().manual_seed(1))
    assert lora.rank == 8
    assert lora.weights["input_blocks.0.0"].rank == lora.weights["out.2"].rank == 4
    inject_lora(unet, lora)
    out = forward(unet)
    assert relative_l2(out.detach(), before) < 1e-6
    out.square().mean().backward()
    trained = {name for name, p in unet.named_parameters() if p.requires_grad}
    assert trained == {name for name in trained if "lora_" in name}
    assert len(trained) == 2 * len(lora.weights)
    assert unet.get_submodule(LAYER).lora_B["default"].weight.grad.abs().max() > 0


def test_trained_lora_goes_to_a_file_and_back(tmp_path):
    unet, fresh = nano(), nano()
    inject_lora(unet, some_lora(unet, scale=0.5))
    save_lora(lora_from_peft(unet), tmp_path / "l.safetensors")
    merge_lora(fresh, load_lora(tmp_path / "l.safetensors", fresh))
    with torch.inference_mode():
        assert relative_l2(forward(unet), forward(fresh)) < 1e-5


def test_training_errors(shapes):
    with pytest.raises(InputError, match="got LoRA rank 0"):
        new_lora(shapes, rank=0)
    with pytest.raises(InputError, match="got a U-Net without a LoRA"):
        lora_from_peft(shapes)
