"""Files that core nodes save of our models: they come back bit by bit, here and in the library."""

from __future__ import annotations

import importlib
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.comfy.graphs import PROMPT
from support.comfy.native import encode, settings
from support.models import UNET_PREFIX, det_state_dict, rnd

CORE = "hummingbird_pack.hummingbird_core"
# The layout of the 0.7B model, narrow, with the text encoder and VAE of the built-in model.
NARROW = {"model_channels": 8, "head_channels": 4, "context_dim": 96, "norm_groups": 4}
PATCHED = "diffusion_model.input_blocks.1.0.in_layers.2.weight"


@pytest.fixture(scope="module")
def narrow_file(adapter, tmp_path_factory):
    layout = importlib.import_module(f"{CORE}.checkpoints.layout")
    files = importlib.import_module(f"{CORE}.weights.tensor_files")
    unet = importlib.import_module(f"{CORE}.unet")
    file = files.open_tensors(adapter.core_hub_local.resolve_model("nano"))
    components = layout.split_components(file.tensors)
    config = unet.UNetConfig.from_preset("hummingbird-0.7b", **NARROW)
    shapes = {
        UNET_PREFIX + key: tuple(value.shape)
        for key, value in unet.HummingbirdUNet(config, device="meta").state_dict().items()
    }
    components.unet = {}
    tensors = {key: tensor.read() for key, tensor in components.with_prefixes().items()}
    configs = layout.component_configs(file, layout.split_components(file.tensors))
    metadata = {**file.metadata, layout.CONFIG_KEY: replace(configs, unet=config).to_json()}
    path = tmp_path_factory.mktemp("narrow") / "narrow.safetensors"
    weights = det_state_dict(shapes)
    save_file({**tensors, **weights}, path, metadata=metadata)
    return path


@pytest.fixture(params=["nano", "0.7B layout"])
def path(request, adapter, narrow_file):
    return adapter.core_hub_local.resolve_model("nano") if request.param == "nano" else narrow_file


def save(kind, tmp_path, *parts):
    """Save with a core node and return the file."""
    import comfy_extras.nodes_model_merging as merging

    node = getattr(merging, kind)()
    tmp_path.mkdir(exist_ok=True)
    node.output_dir = str(tmp_path)
    node.save(*parts, "saved")
    (file,) = tmp_path.glob("saved_*.safetensors")
    return file


def with_lora(model):
    """Return the MODEL with a patch of one weight, as LoRA loaders add them."""
    patched = model.clone()
    weight = patched.model_state_dict()[PATCHED]
    patched.add_patches({PATCHED: ("diff", (0.1 * rnd("lora", weight.shape),))}, 0.7)
    return patched


def latents(adapter, model, positive):
    two_steps = settings(adapter, steps=2)
    return adapter.sample.sample_video(model, positive, two_steps, 3)["samples"]


@pytest.mark.parametrize("lora", [False, True], ids=["plain", "LoRA"])
def test_a_whole_checkpoint_comes_back(adapter, path, tmp_path, lora):
    models = adapter.checkpoint.load_models(path, "fp32")
    model = with_lora(models.model) if lora else models.model
    saved = save("CheckpointSave", tmp_path, model, models.clip, models.vae)
    back = adapter.checkpoint.load_models(saved, "fp32")
    text, text_back = encode(adapter, models, PROMPT), encode(adapter, back, PROMPT)
    assert torch.equal(text[0][0], text_back[0][0])
    expected, got = latents(adapter, model, text), latents(adapter, back.model, text_back)
    assert torch.equal(got, expected)
    assert torch.equal(back.vae.decode(got), models.vae.decode(expected))
    if lora:
        assert not torch.equal(expected, latents(adapter, models.model, text))


@pytest.mark.parametrize("lora", [False, True], ids=["plain", "LoRA"])
def test_a_model_alone_comes_back(adapter, path, tmp_path, lora):
    """With the scale of its latents, which is in no weight of the U-Net."""
    models = adapter.checkpoint.load_models(path, "fp32")
    model = with_lora(models.model) if lora else models.model
    back = adapter.checkpoint.load_models(save("ModelSave", tmp_path, model), "fp32")
    assert (back.clip, back.vae) == (None, None)
    formats = (m.model.latent_format for m in (models.model, back.model))
    first, second = ((f.scale_factor, f.latent_rgb_factors) for f in formats)
    assert first == second
    text = encode(adapter, models, PROMPT)
    assert torch.equal(latents(adapter, back.model, text), latents(adapter, model, text))


def test_a_file_saved_twice_is_the_same(adapter, path, tmp_path):
    models = adapter.checkpoint.load_models(path, "fp32")
    first = save("CheckpointSave", tmp_path / "1", models.model, models.clip, models.vae)
    back = adapter.checkpoint.load_models(first, "fp32")
    second = save("CheckpointSave", tmp_path / "2", back.model, back.clip, back.vae)
    first, second = (load_file(file) for file in (first, second))
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[key]) for key, value in first.items())


def test_the_library_loads_what_core_saved(adapter, path, tmp_path):
    checkpoints = importlib.import_module(f"{CORE}.checkpoints")
    models = adapter.checkpoint.load_models(path, "fp32")
    saved = save("CheckpointSave", tmp_path, models.model, models.clip, models.vae)
    original, again = (
        checkpoints.load_checkpoint(file, dtype=torch.float32) for file in (path, saved)
    )
    assert again.unet.config == original.unet.config
    for ours, theirs in ((again.unet, original.unet), (again.vae, original.vae)):
        expected = theirs.state_dict()
        assert all(torch.equal(value, expected[key]) for key, value in ours.state_dict().items())
    first, second = (loaded.text_encoder.encode(PROMPT).embeddings for loaded in (original, again))
    assert torch.equal(first, second)


def test_a_clip_of_another_model_is_not_saved(adapter):
    with pytest.raises(adapter.core_errors.InputError, match="input clip: got a text encoder of"):
        adapter.saving.text_weights(
            {"clip_l.transformer.text_model.final_layer_norm.weight": rnd("w", (8,))}
        )


def test_a_merge_of_text_encoders_of_two_shapes_is_refused(adapter, nano):
    import comfy_extras.nodes_model_merging as merging

    # As CLIPMergeSimple adds the weights of another CLIP.
    key = f"{adapter.saving.TOWER_PREFIX}final_layer_norm.weight"
    (width,) = nano.clip.patcher.model_state_dict()[key].shape
    other = nano.clip.clone()
    other.add_patches({key: [(rnd("w", (2 * width,)), lambda weight, **_: weight)]}, 0.5, 0.5)
    with pytest.raises(adapter.core_errors.InputError, match="input clip: got a merge with"):
        encode(adapter, type(nano)(nano.model, other, nano.vae), PROMPT)
    merged = merging.CLIPMergeSimple().merge(nano.clip, nano.clip, 0.5)[0]
    encode(adapter, type(nano)(nano.model, merged, nano.vae), PROMPT)


def test_a_merge_with_a_part_of_this_model_is_refused(adapter, nano):
    """All weights of the other one fit, and those that it lacks would stay at full strength."""
    import comfy_extras.nodes_model_merging as merging

    config = nano.model.model.diffusion_model.config
    larger = replace(config, middle_block=True)
    unet = importlib.import_module(f"{CORE}.unet")
    shapes = {k: v.shape for k, v in unet.HummingbirdUNet(larger).state_dict().items()}
    other = adapter.unet.build_model(larger, det_state_dict(shapes), dtype=torch.float32)
    for first, second in ((nano.model, other), (other, nano.model)):
        merged = merging.ModelMergeSimple().merge(first, second, 0.5)[0]
        with pytest.raises(adapter.core_errors.InputError, match="got a merge with a model of"):
            adapter.guard.check_merge(merged)
    adapter.guard.check_merge(merging.ModelMergeSimple().merge(other, other, 0.5)[0])
