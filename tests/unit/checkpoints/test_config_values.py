"""Metadata and names of a checkpoint with values that cannot be meant: refused before building."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hummingbird_core.checkpoints import checkpoint_info, convert_checkpoint, load_checkpoint
from hummingbird_core.checkpoints.configs import TEXT_FIELDS, VAE_FIELDS
from hummingbird_core.checkpoints.layout import CONFIG_KEY
from hummingbird_core.errors import CheckpointError, InputError
from hummingbird_core.text.tokenizer import WordTokenizer
from hummingbird_core.unet import HummingbirdUNet, UNetConfig
from hummingbird_core.unet.config import FIELDS
from hummingbird_core.unet.shapes import weight_shapes
from hummingbird_core.weights.tensor_files import open_tensors

CONFIG = UNetConfig.from_preset("hummingbird-nano")
# Written to hundreds of files.
NARROW = replace(CONFIG, model_channels=8, head_channels=4, norm_groups=4)
BAD = [-1, 10**9, 10**400, 1.5, "1", {}, [[1]], float("nan"), float("-inf")]
FLAGS = ["middle_block", "guidance_embedding", "v_prediction", "frame_phase", "frame_seconds"]

NO_OBJECTS = ["", "[", "null", "5", "[]", "{}", "\0", "[" * 200_000, '{"unet": ' * 100_000]
NO_CONFIGS = [*NO_OBJECTS, '{"unet": null}', '{"unet": {}, "unet": {}}', '{"unet": {}, "text": []}']
NO_CONFIGS += ['{"unet": {}, "more": {}}']
NO_TOKENIZERS = [*NO_OBJECTS, '{"words": "abc"}', '{"words": [1]}', '{"words": ["a", "a"]}']
NO_TOKENIZERS += ['{"words": ["a"], "subjects": [[]]}', '{"words": ["a"], "x": 1}']


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return HummingbirdUNet(NARROW).state_dict()


@pytest.fixture(scope="module")
def known_weights() -> dict[str, torch.Tensor]:
    """Return weights of a shape that is recognized in a file without metadata."""
    return HummingbirdUNet(CONFIG).state_dict()


def with_config(path: Path, weights: dict, text: str) -> Path:
    save_file(weights, path, metadata={CONFIG_KEY: text})
    return path


def with_field(path: Path, weights: dict, part: str, name: str, value: object) -> Path:
    config = {"unet": NARROW.to_dict(), "text": {}, "vae": {}}
    config[part] = {**config[part], name: value}
    return with_config(path, weights, json.dumps(config))


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert checkpoint_info(path)["problem"] == str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("part", "name"),
    [
        *(("unet", name) for name in FIELDS),
        *(("text", name) for name in TEXT_FIELDS),
        *(("vae", name) for name in VAE_FIELDS),
    ],
)
def test_every_field_is_checked_and_named(tmp_path, weights, part, name):
    refused = 0
    for value in BAD:
        path = with_field(tmp_path / "a.safetensors", weights, part, name, value)
        if (part, name, value) == ("vae", "scaling_factor", 1.5):
            continue
        assert f"{part} has {name}" in refusal(path)
        refused += 1
    assert refused >= len(BAD) - 1


@pytest.mark.parametrize("value", [None, 0, 1, "true", [], {}])
@pytest.mark.parametrize("name", FLAGS)
def test_flags_are_true_or_false_only(tmp_path, weights, name, value):
    path = with_field(tmp_path / "a.safetensors", weights, "unet", name, value)
    assert f"{name} {value!r}, expected true or false" in refusal(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention_levels": [0, 2]}, "attention_levels"),
        ({"norm_groups": 5}, "norm_groups 5 divides"),
        ({"head_channels": 48}, "head_channels 48"),
        ({"model_channels": 33, "norm_groups": 1}, "an even number"),
        ({"secret": 1}, "unknown field 'secret'"),
        ({"model_channels": 8192, "norm_groups": 8}, "the file holds"),
        ({"channel_mult": [1] * 8, "num_res_blocks": 8, "model_channels": 320}, "the file holds"),
    ],
)
def test_configs_that_no_unet_can_have(tmp_path, weights, changes, message):
    text = json.dumps({"unet": {**NARROW.to_dict(), **changes}})
    assert message in refusal(with_config(tmp_path / "a.safetensors", weights, text))


@pytest.mark.parametrize("text", NO_CONFIGS, ids=range(len(NO_CONFIGS)))
def test_texts_that_are_no_config(tmp_path, weights, text):
    path = with_config(tmp_path / "a.safetensors", weights, text)
    assert f"damaged metadata {CONFIG_KEY}" in refusal(path)


def test_a_config_comes_back():
    for config in (CONFIG, replace(CONFIG, loop_words=()), replace(CONFIG, loop_words=("bobs",))):
        assert UNetConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(InputError, match="expected an object"):
        UNetConfig.from_dict([1])


@pytest.mark.parametrize("number", ["99999999", "9" * 5000, "999"], ids=["8", "5000", "3"])
@pytest.mark.parametrize(
    "name",
    [
        "model.diffusion_model.input_blocks.{}.0.in_layers.0.weight",
        "cond_stage_model.model.transformer.resblocks.{}.ln_1.weight",
        "first_stage_model.encoder.down.{}.block.0.conv1.weight",
        "first_stage_model.encoder.down.0.block.{}.conv1.weight",
        "first_stage_model.decoder.up.{}.block.0.conv1.weight",
    ],
)
def test_names_with_great_numbers(tmp_path, known_weights, name, number):
    prefixed = {f"model.diffusion_model.{key}": value for key, value in known_weights.items()}
    save_file({**prefixed, name.format(number): torch.ones(3)}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(tmp_path / "a.safetensors")
    assert len(str(caught.value)) < 2000


def test_shapes_are_those_of_the_model():
    weights = HummingbirdUNet(CONFIG, device="meta").state_dict()
    shapes = {key: tensor.shape for key, tensor in weight_shapes(CONFIG).items()}
    assert shapes == {key: tensor.shape for key, tensor in weights.items()}
    assert list(shapes) == list(weights)
    held = sum(tensor.numel() for tensor in weights.values())
    assert held / 20 < CONFIG.min_parameters < held


# --- dtypes and prefixes --------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int64, torch.bool])
def test_integers_are_refused_by_name(tmp_path, weights, dtype):
    save_file({**weights, "out.2.weight": weights["out.2.weight"].to(dtype)}, tmp_path / "a")
    assert "out.2.weight as" in refusal(tmp_path / "a")


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_float8_is_read_as_bfloat16(tmp_path, known_weights, dtype):
    stored = {key: value.to(dtype) for key, value in known_weights.items()}
    save_file(stored, tmp_path / "a")
    for key, value in load_checkpoint(tmp_path / "a").unet.state_dict().items():
        assert value.dtype == torch.bfloat16
        assert torch.equal(value.float(), stored[key].float())
    with pytest.raises(InputError, match="expected float16"):
        convert_checkpoint(tmp_path / "a", tmp_path / "b.safetensors", dtype)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_prefixes_of_ddp_and_compile_are_taken_off(tmp_path, known_weights, prefix):
    save_file({prefix + key: value for key, value in known_weights.items()}, tmp_path / "a")
    unet = load_checkpoint(tmp_path / "a").unet
    assert all(torch.equal(value, known_weights[key]) for key, value in unet.state_dict().items())
    convert_checkpoint(tmp_path / "a", tmp_path / "b.safetensors")
    assert open_tensors(tmp_path / "b.safetensors").tensors.keys() == known_weights.keys()


def test_a_name_with_and_without_prefix_is_refused(tmp_path, weights):
    save_file({**weights, "_orig_mod.out.2.bias": torch.ones(4)}, tmp_path / "a")
    with pytest.raises(CheckpointError, match="two tensors of one name"):
        load_checkpoint(tmp_path / "a")


# --- tokenizer ------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", NO_TOKENIZERS, ids=range(len(NO_TOKENIZERS)))
def test_texts_that_are_no_tokenizer(text):
    with pytest.raises(CheckpointError, match="tokenizer data"):
        WordTokenizer.from_json(text)


def test_many_subjects_take_no_time():
    words = [f"w{index}" for index in range(50_000)]
    text = json.dumps({"words": words, "subjects": words[::-1]})
    assert WordTokenizer.from_json(text).vocab_size == 50_004
