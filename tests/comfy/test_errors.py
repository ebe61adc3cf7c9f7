"""Errors inside nodes name the input to change, and say what is the matter with a video."""

from __future__ import annotations

import sys

import pytest
import torch
from safetensors.torch import save_file
from support.comfy.graphs import PROMPT
from support.comfy.native import encode, settings
from support.models import rnd

OTHER_TEXT = [[torch.zeros(1, 77, 768), {}]]  # conditioning of Stable Diffusion 1


def test_wrong_inputs_are_named(adapter, nano, positive):
    error = adapter.core_errors.InputError
    sample = adapter.sample.sample_video
    image = {"samples": torch.zeros(1, 4, 8, 8)}
    with pytest.raises(error, match="input latent"):
        sample(nano.model, positive, settings(adapter), 0, latent=image)
    with pytest.raises(error, match="input samples"):
        adapter.frames.decode(nano.vae, {"samples": torch.zeros(1, 16, 2, 8, 8)})
    with pytest.raises(error, match="input positive"):
        sample(nano.model, OTHER_TEXT, settings(adapter), 0)
    with pytest.raises(error, match="input negative"):
        sample(nano.model, positive, settings(adapter), 0, negative=OTHER_TEXT)
    with pytest.raises(error, match="input model: got a NoneType"):
        sample(None, positive, settings(adapter), 0)
    with pytest.raises(error, match="multiple of 8"):
        sample(nano.model, positive, settings(adapter, width=65), 0)
    with pytest.raises(error, match="input clip"):
        adapter.text.tokenize(None, "text")
    with pytest.raises(error, match="input vae"):
        adapter.frames.decode(None, {"samples": torch.zeros(1, 4, 2, 8, 8)})


@pytest.mark.parametrize(
    ("source", "named"), [("local", "language_model"), ("server", "url or language_model")]
)
def test_sources_of_prompts_name_their_inputs(adapter, nano, source, named):
    """Without a model, and at a port where nobody listens; a node has no flags to point to."""
    arguments = (nano.clip, "a cat", source, "", "http://127.0.0.1:9/v1", 0, None)
    with pytest.raises(adapter.core_errors.HummingbirdError, match=f"input {named}: got no") as e:
        adapter.prompts.enhance(*arguments)
    assert "--" not in str(e.value)


@pytest.mark.parametrize("source", ["builtin", "local", "server", "comfyui"])
def test_an_empty_prompt_is_named_whatever_the_source(adapter, nano, source):
    with pytest.raises(adapter.core_errors.InputError, match="input prompt: got an empty"):
        adapter.prompts.enhance(nano.clip, " ", source, "", "http://127.0.0.1:9/v1", 0, None)


def test_a_file_that_is_none_is_named(adapter, nano, tmp_path, monkeypatch):
    path = tmp_path / "notes.safetensors"
    path.write_text("buy milk")
    monkeypatch.setattr(adapter.scoring, "dover_path", lambda _: path)
    with pytest.raises(adapter.core_errors.CheckpointError, match="input dover: "):
        adapter.scoring.rating("notes.safetensors")
    with pytest.raises(adapter.core_errors.CheckpointError, match="input lora: "):
        adapter.lora.apply_lora(nano.model, path, 1.0)


def test_what_a_checkpoint_lacks_is_said_by_the_loader_and_where_it_is_missed(
    node_classes, adapter, nano, tmp_path, monkeypatch
):
    """A U-Net alone, as in models/diffusion_models."""
    unet = nano.model.model.diffusion_model.state_dict()
    path = tmp_path / "unet.safetensors"
    save_file({f"model.diffusion_model.{key}": value for key, value in unet.items()}, path)
    load = node_classes["HummingbirdLoad"]
    monkeypatch.setattr(sys.modules[load.__module__], "checkpoint_path", lambda _: path)
    loaded = load.execute("unet.safetensors", "fp32")
    _, clip, vae = loaded.args
    (text,) = loaded.ui["text"]
    assert text.startswith("This file holds no CLIP and no VAE:")
    with pytest.raises(adapter.core_errors.InputError, match=r"input clip: .* has none"):
        adapter.text.tokenize(clip, "a red circle")
    with pytest.raises(adapter.core_errors.InputError, match=r"input vae: .* has none"):
        adapter.frames.decode(vae, {"samples": torch.zeros(1, 4, 2, 8, 8)})


def test_a_list_without_prompts_is_named(node_classes, adapter):
    with pytest.raises(adapter.core_errors.InputError, match="input prompts"):
        node_classes["HummingbirdPromptList"].execute(" \n")


def test_another_vae_is_named_before_anything_is_sampled(adapter, nano, positive):
    """Such as one of ComfyUI's own, which knows single images."""
    import comfy.sd

    weights = nano.vae.get_sd()
    sizes = adapter.core_vae.vae_config_from_state_dict(weights)
    config = {"params": adapter.autoencoder._parameters(sizes)}
    for vae in (None, comfy.sd.VAE(sd=weights, config=config)):
        with pytest.raises(adapter.core_errors.InputError, match="input vae"):
            adapter.frames.decode(vae, adapter.latents.empty_video(64, 64, 2))
        with pytest.raises(adapter.core_errors.InputError, match="input vae"):
            adapter.best_of.best_of(nano.model, positive, vae, settings(adapter), [0])


def test_a_teacher_asks_for_its_negative(adapter):
    path = adapter.core_hub_local.resolve_model("nano-teacher")
    models = adapter.checkpoint.load_models(path)
    with pytest.raises(adapter.core_errors.InputError, match="input negative"):
        adapter.sample.sample_video(
            models.model, encode(adapter, models, PROMPT), settings(adapter), 0
        )


def test_nan_is_named_and_not_shown_as_black(adapter, nano):
    latent = {"samples": torch.full((1, 4, 2, 8, 8), float("nan"))}
    with pytest.raises(adapter.core_errors.NumericalError, match="NaN or infinite latents"):
        adapter.frames.decode(nano.vae, latent)


def test_a_flat_video_is_explained(adapter):
    latent = {"samples": torch.zeros(1, 4, 2, 8, 8)}
    assert "standard deviation of 0," in adapter.frames.flat_warning(
        torch.zeros(2, 9, 9, 3), latent
    )
    assert adapter.frames.flat_warning(rnd("image", (2, 9, 9, 3)), latent) is None


def test_decode_says_why_a_video_is_flat_and_takes_it_back(node_classes, adapter, nano):
    """ComfyUI tells the page of a run only if there is something to show: also of a good one."""
    decode, latent = node_classes["HummingbirdDecode"], {"samples": rnd("z", (1, 4, 2, 8, 8))}
    assert decode.execute(latent, nano.vae, 0.0).ui == {"text": ("",)}
    path = adapter.core_hub_local.resolve_model("nano")
    vae = adapter.checkpoint.load_models(path, "fp32").vae
    vae.first_stage_model.decoder.conv_out.weight.zero_()
    (text,) = decode.execute(latent, vae, 0.0).ui["text"]
    assert "one flat colour" in text


def test_a_single_picture_is_scored_too(adapter):
    """An image is a video that stands still: no other node may fail for it."""
    picture = rnd("image", (1, 64, 64, 4)).sigmoid()
    score = adapter.scoring.rating("none")(picture, 8.0)
    assert "defects" in adapter.scoring.describe_score(score)
    assert adapter.scoring.sheet_row(picture).shape == (96, 6 * 96, 3)


def test_a_stable_diffusion_checkpoint_is_refused(adapter, tmp_path):
    weights = {
        "model.diffusion_model.input_blocks.0.0.weight": torch.zeros(320, 4, 3, 3),
        "model.diffusion_model.time_embed.0.weight": torch.zeros(1280, 320),
        "model.diffusion_model.out.2.weight": torch.zeros(4, 320, 3, 3),
    }
    path = tmp_path / "v1-5.safetensors"
    save_file(weights, path)
    with pytest.raises(adapter.core_errors.CheckpointError, match="missing"):
        adapter.checkpoint.load_models(path)
