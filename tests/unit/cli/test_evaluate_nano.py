"""`hummingbird evaluate nano`: what it prints and writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from support.command_line import run

from hummingbird_core.checkpoints.load import load_checkpoint
from hummingbird_core.lora.layers import new_lora
from hummingbird_core.lora.merge import save_lora
from hummingbird_core.nano.diversity import VARIED
from hummingbird_core.training.nano.autoencoder import build_vae
from hummingbird_core.training.nano.build import save_model
from hummingbird_core.training.nano.text import build_text_encoder
from hummingbird_core.unet import HummingbirdUNet, UNetConfig

SMALL = ("--prompts", 2, "--steps", 1, "--frames", 8, "--words", 0)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A student of random weights and no preset, in whose videos there is nothing to read."""
    path = tmp_path_factory.mktemp("model") / "random.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = HummingbirdUNet(UNetConfig.from_preset("hummingbird-nano", model_channels=16))
        save_model(path, unet, build_vae(), build_text_encoder())
    return path


def test_accuracy_and_diversity_are_printed_and_written(capsys, tmp_path, model):
    output = tmp_path / "accuracy"
    options = ("--held-out", "order", "wording", "--seeds", 2, "-o", output)
    code, out, _ = run(capsys, "evaluate", "nano", "--model", model, *SMALL, *options)
    assert code == 0
    assert "| right (95 % interval) | order | wording |" in out
    assert "| random, 1 steps, guidance 7.5, 8 frames, 2 prompts each |" in out
    assert "speed right at frames a second: 4: 0.0% (0.0% to 65.8%); 8: 0.0%" in out
    assert output.with_suffix(".md").read_text() == out
    record = json.loads(output.with_suffix(".json").read_text())
    assert (record["model"], record["prompts"], record["seeds"]) == ("random", 2, 2)
    record = record["steps"]["1"]
    assert record["frame_rates"] == {"4": 0, "8": 0, "16": 0}
    for held_out in ("order", "wording"):
        assert record[held_out]["videos"]["joint"] == 2
        assert record[held_out]["accuracy"]["subject"] == 0
        assert record[held_out]["distance"] is None  # NaN is no JSON
    assert "combination" not in record
    assert set(record["diversity"]["spread"]) == set(VARIED)


def test_the_diversity_can_be_left_out(capsys, model):
    options = ("--held-out", "order", "--seeds", 0)
    code, out, _ = run(capsys, "evaluate", "nano", "--model", model, *SMALL, *options)
    assert code == 0
    assert "spread" not in out


def test_several_numbers_of_steps_are_measured_one_after_the_other(capsys, tmp_path, model):
    output = tmp_path / "accuracy"
    options = ("--held-out", "order", "--seeds", 0, "--steps", 2, 1, "-o", output)
    small = ("--prompts", 1, "--frames", 8, "--words", 0)
    code, out, _ = run(capsys, "evaluate", "nano", "--model", model, *small, *options)
    assert code == 0
    assert out.index("random, 2 steps") < out.index("random, 1 steps")
    assert output.with_suffix(".md").read_text() == out
    assert list(json.loads(output.with_suffix(".json").read_text())["steps"]) == ["2", "1"]


def test_a_lora_is_merged_and_named(capsys, tmp_path, model):
    unet = load_checkpoint(model).unet
    lora = new_lora(unet, 2, 2.0, torch.Generator().manual_seed(0))
    save_lora(lora, tmp_path / "bright.safetensors")
    options = ("--held-out", "order", "--seeds", 0, "--lora", f"{tmp_path}/bright.safetensors:0.5")
    code, out, _ = run(capsys, "evaluate", "nano", "--model", model, *SMALL, *options)
    assert code == 0
    assert out.startswith("random + bright:0.5, 1 steps")


@pytest.mark.parametrize("option", ["--words", "--seeds", "--prompts"])
def test_a_negative_number_is_refused(capsys, model, option):
    code, _, err = run(capsys, "evaluate", "nano", "--model", model, option, -1)
    assert code == 2
    assert f"got {option} -1, expected at least" in err
