"""`hummingbird info`, `convert` and `download`: what they say and write."""

from __future__ import annotations

import json
import re

import torch
from safetensors.torch import load_file, save_file
from support.command_line import error_of, run

from hummingbird_core.lora.formats import lora_targets
from hummingbird_core.unet import HummingbirdUNet, UNetConfig


def test_info_of_a_file_that_is_no_checkpoint(capsys, tmp_path):
    (tmp_path / "notes.pt").write_text("not a checkpoint")
    assert "notes.pt" in error_of(capsys, "info", tmp_path / "notes.pt")
    assert "missing.pt" in error_of(capsys, "info", tmp_path / "missing.pt")


def test_info_as_text_and_json(capsys, tmp_path):
    path = tmp_path / "tensors.safetensors"
    save_file({"model.diffusion_model.out.2.bias": torch.zeros(4)}, path, metadata={"a": "b" * 999})
    code, out, _ = run(capsys, "info", path)
    assert code == 0
    assert "  unet: 4\n" in out
    assert len(out) < 2000
    assert json.loads(run(capsys, "info", path, "--json")[1])["parameters"]["unet"] == 4


def test_convert_refuses_what_is_no_checkpoint(capsys, tmp_path):
    (tmp_path / "notes.pt").write_text("not a checkpoint")
    assert "notes.pt" in error_of(
        capsys, "convert", tmp_path / "notes.pt", tmp_path / "out.safetensors"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["notes.pt"]


def test_convert_makes_a_comfyui_lora_of_the_flat_list(capsys, tmp_path):
    unet = HummingbirdUNet(UNetConfig.from_preset("hummingbird-nano"), device="meta")
    tensors = []
    for layer in lora_targets(unet).values():
        out, *rest = layer.weight.shape
        tensors += [torch.zeros(out, 2, *[1] * (len(rest) - 1)), torch.zeros(2, *rest)]
    torch.save(tensors, tmp_path / "unet_lora.pt")
    arguments = ("convert", tmp_path / "unet_lora.pt", tmp_path / "lora.safetensors")
    code, _, _ = run(capsys, *arguments, "--lora-for", "hummingbird-nano")
    assert code == 0
    converted = load_file(tmp_path / "lora.safetensors")
    assert len(converted) == len(tensors) // 2 * 3  # up, down, alpha
    assert "diffusion_model.time_cond_proj.lora_up.weight" in converted
    said = error_of(capsys, *arguments, "--lora-for", "videocrafter2", "--overwrite")
    assert "it fits hummingbird-nano" in said


def test_download_lists_sizes_and_licences(capsys):
    code, out, _ = run(capsys, "download")
    assert code == 0
    assert re.search(r"hummingbird-0\.7b: about 4\.8 GB .* licence: research", out)


def test_download_asks_for_the_licence_first(capsys, tmp_path):
    said = error_of(capsys, "download", "hummingbird-0.7b", "--to", tmp_path)
    assert "--accept-licence" in said
    assert "no redistribution" in said
    assert not list(tmp_path.iterdir())


def test_download_says_where_dover_is_and_that_it_is_non_commercial(capsys):
    _, out, _ = run(capsys, "download")
    assert re.search(
        r"dover: DOVER\.pth .* https://github\.com/\S+; licence: .*non-commercial", out
    )
    assert "by hand from https://github.com/" in error_of(capsys, "download", "dover")


def test_download_of_an_unknown_name(capsys):
    assert "expected one of hummingbird-0.7b" in error_of(capsys, "download", "hummingbird-7b")
