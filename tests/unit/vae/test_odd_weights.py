"""VAEs, tiny decoders and text encoders of impossible sizes: refused before they are built."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.models import tiny_vae

from hummingbird_core.errors import CheckpointError
from hummingbird_core.text.encoder import TextConfig
from hummingbird_core.vae import diffusers_to_ldm, load_vae
from hummingbird_core.vae.tiny import PRUNED_FIELDS, PRUNED_KEY, built_in_decoder, load_fast_decoder
from hummingbird_core.weights.tensor_files import open_tensors

BAD = [None, "1", 10**9, -1, 1e400, True, [[1]], {}]


@pytest.fixture(scope="module")
def decoder() -> tuple[dict[str, torch.Tensor], dict]:
    file = built_in_decoder()
    return load_file(file), json.loads(open_tensors(file).metadata[PRUNED_KEY])


@pytest.mark.parametrize("name", PRUNED_FIELDS)
def test_every_field_of_a_tiny_decoder_is_checked(tmp_path, decoder, name):
    weights, config = decoder
    for value in BAD:
        text = json.dumps({**config, name: value})
        save_file(weights, tmp_path / "d.safetensors", metadata={PRUNED_KEY: text})
        with pytest.raises(CheckpointError, match=f"it has {name}"):
            load_fast_decoder(tmp_path / "d.safetensors")


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 100_000, '{"x": 1}'], ids=range(5))
def test_texts_that_are_no_tiny_decoder(tmp_path, decoder, text):
    save_file(decoder[0], tmp_path / "d.safetensors", metadata={PRUNED_KEY: text or "null"})
    with pytest.raises(CheckpointError, match="damaged metadata"):
        load_fast_decoder(tmp_path / "d.safetensors")


@pytest.mark.parametrize(
    "config",
    [
        {"decoder_block_out_channels": [10**9] * 4},
        {"num_decoder_blocks": [10**6] * 4},
        {"decoder_block_out_channels": [64] * 1000},
        {"act_fn": "no such function"},
        {"latent_channels": "4"},
        [1],
    ],
    ids=range(6),
)
def test_configs_that_no_taesd_has(tmp_path, config):
    folder: Path = tmp_path / "taesd"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    save_file({"decoder.x": torch.ones(1)}, folder / "diffusion_pytorch_model.safetensors")
    with pytest.raises(CheckpointError):
        load_fast_decoder(folder)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("encoder.conv_in.weight", (1,)),
        ("encoder.down.0.block.0.conv1.weight", ()),
        ("encoder.down.0.block.0.conv1.weight", (0, 4, 3, 3)),
        ("encoder.down.0.block.17.conv1.weight", (1,)),
        ("encoder.down.8.block.0.conv1.weight", (1,)),
        ("encoder.down.00000000000.block.0.conv1.weight", (1,)),
    ],
)
def test_vaes_of_impossible_sizes(name, shape):
    weights = {**diffusers_to_ldm(tiny_vae().state_dict()), name: torch.zeros(shape)}
    with pytest.raises(CheckpointError):
        load_vae(weights, norm_num_groups=4)
    with pytest.raises(CheckpointError):
        load_vae({"encoder.conv_in.weight": torch.ones(1)})


@pytest.mark.parametrize(
    "changes",
    [
        {"token_embedding.weight": (4,)},
        {"token_embedding.weight": (0, 8)},
        {"token_embedding.weight": (4, 1 << 40)},
        {"positional_embedding": ()},
        {"transformer.resblocks.999.ln_1.weight": (8,)},
    ],
    ids=str,
)
def test_text_encoders_of_impossible_sizes(changes):
    shapes = {
        "token_embedding.weight": (4, 8),
        "positional_embedding": (77, 8),
        "transformer.resblocks.0.mlp.c_fc.weight": (32, 8),
    }
    state = {key: torch.empty(shape, device="meta") for key, shape in (shapes | changes).items()}
    with pytest.raises(CheckpointError):
        TextConfig.from_state_dict(state)
