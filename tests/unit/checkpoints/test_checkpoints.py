"""Loading, converting and describing checkpoints: small U-Nets and every kind of bad file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support.models import det_state_dict, manifest
from support.paths import ROOT

from hummingbird_core.checkpoints import (
    checkpoint_info,
    convert_checkpoint,
    load_checkpoint,
    read_tensors,
)
from hummingbird_core.checkpoints.convert import license_of, weights_license
from hummingbird_core.checkpoints.layout import VAE_PREFIX, ComponentConfigs
from hummingbird_core.errors import CheckpointError, InputError, OutputError
from hummingbird_core.hub.download import CATALOG
from hummingbird_core.unet import HummingbirdUNet, UNetConfig
from hummingbird_core.weights.tensor_files import TensorFile, open_tensors, write_safetensors

PREFIX = "model.diffusion_model."
TINY = UNetConfig(
    model_channels=32,
    channel_mult=(1, 2),
    num_res_blocks=1,
    attention_levels=(0,),
    head_channels=16,
    context_dim=16,
    middle_block=False,
)
MEMORY_OVERHEAD = 70  # MB above what the process needed before


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    shapes = {k: t.shape for k, t in HummingbirdUNet(TINY, device="meta").state_dict().items()}
    return det_state_dict(shapes)


@pytest.fixture
def merged(weights) -> dict[str, torch.Tensor]:
    """Return a state dict with the U-Net and the unused tensors of a checkpoint."""
    extras = ["betas", "ddim_sigmas", "model_ema.decay", VAE_PREFIX + "loss.logvar"]
    unused = {key: torch.ones(3) for key in extras}
    return {**unused, **{PREFIX + key: tensor for key, tensor in weights.items()}}


def saved(path: Path, tensors) -> Path:
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save({"state_dict": tensors}, path)
    return path


# --- loading -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.ckpt", "a.safetensors"])
def test_loads_a_merged_file_without_text_and_vae(tmp_path, merged, weights, name):
    checkpoint = load_checkpoint(saved(tmp_path / name, merged))
    assert checkpoint.unet.config == TINY
    assert checkpoint.preset == "custom"
    assert (checkpoint.vae, checkpoint.text_encoder) == (None, None)
    for key, tensor in checkpoint.unet.state_dict().items():
        assert torch.equal(tensor, weights[key])


def test_loads_a_bare_unet_from_a_folder_in_another_dtype(tmp_path, weights):
    saved(tmp_path / "a.safetensors", weights)
    checkpoint = load_checkpoint(tmp_path, dtype=torch.bfloat16)
    assert {tensor.dtype for tensor in checkpoint.unet.state_dict().values()} == {torch.bfloat16}


def test_teacher_without_guidance_input_gets_none(tmp_path):
    config = UNetConfig.from_preset("nano-teacher")
    saved(tmp_path / "a.pt", HummingbirdUNet(config).state_dict())
    checkpoint = load_checkpoint(tmp_path / "a.pt")
    assert checkpoint.preset == "nano-teacher"
    assert not checkpoint.unet.config.guidance_embedding


def test_released_shapes_are_recognised_from_headers_alone(tmp_path):
    for preset, name in (("hummingbird-0.7b", "unet_07B_tc256"), ("videocrafter2", "unet_vc2")):
        shapes = manifest(name)
        # One element repeated: the file has the shapes but not the size.
        tensors = {key: torch.zeros(1).expand(shape) for key, shape in shapes.items()}
        info = checkpoint_info(saved(tmp_path / "a.ckpt", tensors))
        assert info["preset"] == preset
    assert info["parameters"]["unet"] == 1_413_284_420


def test_every_fault_is_named_in_full(tmp_path, merged):
    del merged[PREFIX + "out.2.bias"]
    merged[PREFIX + "time_embed.0.bias"] = torch.ones(5)
    merged["stranger.weight"] = torch.ones(1)
    with pytest.raises(ValueError, match="1 missing") as caught:
        load_checkpoint(saved(tmp_path / "a.pt", merged))
    for expected in (
        "model.diffusion_model.out.2.bias",
        "model.diffusion_model.time_embed.0.bias (5,) instead of (128,)",
        "stranger.weight",
    ):
        assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["out.2.weight", "input_blocks.0.0.weight", "out.0.bias"])
def test_tensors_that_tell_the_config_may_be_missing_or_wrong(tmp_path, key):
    config = UNetConfig.from_preset("hummingbird-nano")
    tensors = HummingbirdUNet(config).state_dict()
    tensors[key] = torch.ones(7, 3)
    with pytest.raises(CheckpointError, match=f"1 mis-shaped.*{key}"):
        load_checkpoint(saved(tmp_path / "a.pt", tensors))
    del tensors[key]
    with pytest.raises(CheckpointError, match=f"1 missing.*{key}"):
        load_checkpoint(saved(tmp_path / "a.pt", tensors))


# --- bad files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"hello", b"hello world, this is not a checkpoint\n" * 9])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_files_that_are_no_checkpoint(tmp_path, content, suffix):
    file = tmp_path / f"a{suffix}"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="expected") as caught:
        read_tensors(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0.0001, 0.01, 0.5, 0.9999])
def test_truncated_safetensors(tmp_path, weights, keep):
    file = saved(tmp_path / "a.safetensors", weights)
    data = file.read_bytes()
    file.write_bytes(data[: max(int(len(data) * keep), 9)])
    with pytest.raises(CheckpointError, match=r"truncated|damaged|not a weights file"):
        read_tensors(file)


def test_missing_files_and_folders(tmp_path, weights):
    with pytest.raises(CheckpointError, match="No such file"):
        read_tensors(tmp_path / "absent.pt")
    with pytest.raises(CheckpointError, match="got folder"):
        read_tensors(tmp_path)
    with pytest.raises(CheckpointError, match="holds 0 checkpoints"):
        load_checkpoint(tmp_path)
    for name in ("a.safetensors", "b.safetensors"):
        saved(tmp_path / name, weights)
    with pytest.raises(CheckpointError, match=r"holds 2 checkpoints \(a.safetensors, b"):
        load_checkpoint(tmp_path)


def test_a_file_without_unet_is_described_but_not_loaded(tmp_path):
    file = saved(tmp_path / "lora.safetensors", {"lora_up.weight": torch.ones(2)})
    with pytest.raises(CheckpointError, match="holds no U-Net"):
        load_checkpoint(file)
    info = checkpoint_info(file)
    assert info["preset"] is None
    assert "holds no U-Net" in info["problem"]


def test_damaged_metadata_is_reported(tmp_path, weights):
    save_file(weights, tmp_path / "a.safetensors", metadata={"hummingbird.config": "{"})
    with pytest.raises(CheckpointError, match=r"damaged metadata hummingbird\.config"):
        load_checkpoint(tmp_path / "a.safetensors")


# --- converting ----------------------------------------------------------------------------------


def test_converted_file_is_plain_safetensors_with_the_original_names(tmp_path, merged, weights):
    source, destination = saved(tmp_path / "a.ckpt", merged), tmp_path / "new" / "b.safetensors"
    calls = []
    report = convert_checkpoint(source, destination, progress=lambda *done: calls.append(done))
    tensors = load_file(destination)
    assert tensors.keys() == {PREFIX + key for key in weights}
    for key, tensor in weights.items():
        assert torch.equal(tensors[PREFIX + key], tensor.half())
    assert report["dropped"] == 4
    assert report["size_bytes"] == destination.stat().st_size
    assert calls[-1][0] == calls[-1][1]
    with safe_open(destination, framework="pt") as file:
        metadata = file.metadata()
    assert metadata["hummingbird.source"] == "a.ckpt"
    assert metadata["hummingbird.source_sha256"] == report["source_sha256"]
    assert json.loads(metadata["hummingbird.config"])["unet"]["context_dim"] == 16
    assert load_checkpoint(destination).unet.config == TINY
    json.dumps(checkpoint_info(destination))


def test_converts_to_bfloat16_and_from_safetensors(tmp_path, weights):
    source = saved(tmp_path / "a.pt", weights)
    convert_checkpoint(source, tmp_path / "b.safetensors", torch.bfloat16)
    convert_checkpoint(tmp_path / "b.safetensors", tmp_path / "c.safetensors", torch.float32)
    got = read_tensors(tmp_path / "c.safetensors")
    assert got.keys() == weights.keys()
    for key, tensor in weights.items():
        assert torch.equal(got[key], tensor.bfloat16().float())


def test_metadata_survives_a_second_conversion(tmp_path, weights):
    extra = {"hummingbird.tokenizer": "{}", "hummingbird.licence": "Apache-2.0"}
    save_file(weights, tmp_path / "a.safetensors", metadata=extra)
    convert_checkpoint(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert extra.items() <= load_checkpoint(tmp_path / "b.safetensors").metadata.items()


def test_terms_are_those_in_the_file_or_of_the_released_model_of_its_shape(tmp_path, weights):
    assert license_of(saved(tmp_path / "a.pt", weights)) == "that of the source file"
    save_file(weights, tmp_path / "b.safetensors", metadata={"hummingbird.licence": "MIT"})
    assert license_of(tmp_path / "b.safetensors") == "MIT"
    for name, entry in CATALOG.items():
        file = TensorFile(path=tmp_path / "c.pt", format="pickle", tensors={}, metadata={})
        configs = ComponentConfigs(UNetConfig.from_preset(name), text={}, vae={})
        assert weights_license(file, configs) == entry.license


def test_nothing_is_overwritten_unasked(tmp_path, weights):
    source, destination = saved(tmp_path / "a.safetensors", weights), tmp_path / "b.safetensors"
    destination.write_bytes(b"precious")
    with pytest.raises(OutputError, match="exists already"):
        convert_checkpoint(source, destination)
    assert destination.read_bytes() == b"precious"
    convert_checkpoint(source, destination, overwrite=True)
    assert load_checkpoint(destination)
    with pytest.raises(InputError, match="source and destination"):
        convert_checkpoint(source, source, overwrite=True)


def test_impossible_destinations(tmp_path, weights):
    source = saved(tmp_path / "a.pt", weights)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot make folder"):
        convert_checkpoint(source, tmp_path / "file" / "b.safetensors")
    with pytest.raises(OutputError, match=r"ends in \.safetensors"):
        convert_checkpoint(source, tmp_path / "b.pt")
    with pytest.raises(InputError, match="expected float16"):
        convert_checkpoint(source, tmp_path / "b.safetensors", dtype=torch.int8)


def test_interrupting_leaves_no_file(tmp_path, weights):
    source, folder = saved(tmp_path / "a.pt", weights), tmp_path / "out"

    def interrupt(done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert_checkpoint(source, folder / "b.safetensors", progress=interrupt)
    assert list(folder.iterdir()) == []


def test_weights_beyond_float16_are_reported(tmp_path, weights):
    source = saved(tmp_path / "a.pt", {**weights, "out.2.bias": torch.full((4,), 1e6)})
    with pytest.raises(CheckpointError, match=r"out\.2\.bias is not finite in float16"):
        convert_checkpoint(source, tmp_path / "b.safetensors")
    assert not (tmp_path / "b.safetensors").exists()


def convert_in_child(source: Path, destination: Path, before: str = "") -> str:
    """Run a conversion in a fresh process and return its output."""
    code = f"""
import re, sys
from pathlib import Path
from hummingbird_core.checkpoints import convert_checkpoint
import hummingbird_core.unet

def peak_mb():
    status = Path("/proc/self/status")
    return int(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1]) / 1024
{before}
start = peak_mb()
try:
    convert_checkpoint(sys.argv[1], sys.argv[2])
except Exception as error:
    print(type(error).__name__, error)
print(peak_mb() - start)
"""
    command = [sys.executable, "-c", code, str(source), str(destination)]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout


needs_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="uses /proc")


@needs_linux
def test_full_disk_leaves_no_file(tmp_path, weights):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))"
    source = saved(tmp_path / "a.pt", weights)
    output = convert_in_child(source, tmp_path / "out" / "b.safetensors", before=limit)
    assert "OutputError cannot write" in output
    assert list((tmp_path / "out").iterdir()) == []


def zeros(config: UNetConfig) -> dict[str, torch.Tensor]:
    state = HummingbirdUNet(config, device="meta").state_dict()
    return {key: torch.zeros(tensor.shape) for key, tensor in state.items()}


@needs_linux
def test_converting_needs_little_memory(tmp_path):
    source = saved(tmp_path / "a.pt", zeros(UNetConfig(model_channels=96, num_res_blocks=1)))
    assert source.stat().st_size > 4 * MEMORY_OVERHEAD * 1e6
    growth = float(convert_in_child(source, tmp_path / "b.safetensors"))
    assert growth < MEMORY_OVERHEAD


@pytest.mark.slow
@needs_linux
def test_converting_the_full_model_stays_within_the_promised_memory(tmp_path):
    source = saved(tmp_path / "a.pt", zeros(UNetConfig.from_preset("hummingbird-0.7b")))
    growth = float(convert_in_child(source, tmp_path / "b.safetensors"))
    output = (tmp_path / "b.safetensors").stat().st_size / 1e6
    assert growth < 1.5 * output + 1000
    assert growth < 500  # what it really takes: the largest tensor, in both types


def test_integers_keep_their_type_and_every_tensor_is_aligned(tmp_path):
    values = {"half": torch.ones(3).half(), "count": torch.arange(5), "float": torch.ones(3)}
    source = open_tensors(saved(tmp_path / "a.pt", values))
    file = tmp_path / "b.safetensors"
    write_safetensors(file, source.tensors, dtype=torch.float32, metadata={})
    got = load_file(file)
    assert torch.equal(got["count"], values["count"])
    assert {key: t.dtype for key, t in got.items() if key != "count"} == {
        "half": torch.float32,
        "float": torch.float32,
    }
    length = int.from_bytes(file.read_bytes()[:8], "little")
    assert length % 8 == 0


def test_any_length_of_header_is_recognised(tmp_path):
    for extra in range(0, 264, 8):  # the first byte of a header of 128 is also that of a pickle
        file = tmp_path / "a.safetensors"
        save_file({"a": torch.ones(1)}, file, metadata={"note": "x" * extra})
        assert list(read_tensors(file)) == ["a"]
