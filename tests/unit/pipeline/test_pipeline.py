"""The pipeline: shapes, seeds and errors on random weights, then the built-in model itself."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from support.models import relative_l2
from support.paths import ROOT

from hummingbird_core.checkpoints import load_checkpoint
from hummingbird_core.checkpoints.layout import CONFIG_KEY, ComponentConfigs
from hummingbird_core.errors import CheckpointError, InputError, NumericalError
from hummingbird_core.hub.local import resolve_model
from hummingbird_core.nano.evaluate import evaluate_nano
from hummingbird_core.nano.readers.scene import read_scene
from hummingbird_core.nano.world.paths import NANO_FPS
from hummingbird_core.nano.world.stream import HELD_OUT
from hummingbird_core.pipeline import HummingbirdPipeline
from hummingbird_core.sampling import initial_noise, step_noises
from hummingbird_core.sampling.ddim import sample_ddim
from hummingbird_core.sampling.guidance import cfg_eps
from hummingbird_core.training.nano.autoencoder import build_vae
from hummingbird_core.training.nano.text import CONTEXT_DIM, build_text_encoder
from hummingbird_core.training.pruning.block_map import map_to, student_config
from hummingbird_core.unet import HummingbirdUNet, UNetConfig

SMALL = {"width": 32, "height": 16, "num_frames": 3, "num_inference_steps": 2}
NARROW = {
    "model_channels": 8,
    "channel_mult": (1, 1),
    "attention_levels": (1,),
    "head_channels": 4,
    "context_dim": CONTEXT_DIM,
    "norm_groups": 4,
}
BENCHMARKS = ROOT / "benchmarks" / "results"
PROMPT = "a red circle moves right"


def random_pipeline(preset: str) -> HummingbirdPipeline:
    torch.manual_seed(0)
    unet = HummingbirdUNet(UNetConfig.from_preset(preset)).eval()
    return HummingbirdPipeline(unet, build_vae().eval(), build_text_encoder().eval())


@pytest.fixture(scope="module")
def pipe() -> HummingbirdPipeline:
    return random_pipeline("hummingbird-nano")


@pytest.fixture(scope="module")
def built_in() -> HummingbirdPipeline:
    return HummingbirdPipeline.from_pretrained("nano", device="cpu")


def test_output_has_the_documented_shapes(pipe):
    video = pipe([PROMPT, PROMPT], **SMALL)
    assert video.frames.shape == (2, 3, 16, 32, 3)
    assert video.frames.dtype == np.uint8
    assert video.latents.shape == (2, 4, 3, 2, 4)
    assert video.seeds == [0, 1]
    assert pipe.encode_prompt(PROMPT).shape == (1, 77, CONTEXT_DIM)
    assert pipe.decode(video.latents).shape == (2, 3, 3, 16, 32)
    assert pipe.encode_video(torch.zeros(1, 3, 3, 16, 32)).shape == (1, 4, 3, 2, 4)


def test_a_video_does_not_depend_on_its_batch(pipe):
    batch = pipe([PROMPT, PROMPT], seed=5, **SMALL)
    single = pipe(PROMPT, seed=6, **SMALL)
    # Random weights amplify the rounding of another batch size from step to step.
    assert relative_l2(batch.latents[1:], single.latents) < 1e-4


def test_seed_prompt_guidance_and_fps_each_change_the_video(pipe):
    base = pipe(PROMPT, **SMALL).latents
    torch.testing.assert_close(pipe(PROMPT, **SMALL).latents, base, atol=0, rtol=0)
    for change in ({"seed": 1}, {"guidance_scale": 3.0}, {"fps": 16}):
        assert not torch.equal(pipe(PROMPT, **SMALL, **change).latents, base)
    assert not torch.equal(pipe("a blue square", **SMALL).latents, base)


def test_call_is_sampling_and_decoding_of_the_seeded_noise(pipe):
    video = pipe(PROMPT, seed=3, **SMALL)
    shape = video.latents.shape
    with torch.no_grad():
        latents = pipe.sample(
            pipe.encode_prompt(PROMPT),
            latents=initial_noise(shape, 3),
            noises=step_noises(shape, 3),
            num_inference_steps=2,
        )
    torch.testing.assert_close(latents, video.latents)


def test_a_teacher_samples_with_ddim_and_guidance():
    teacher = random_pipeline("nano-teacher")
    plain = teacher(PROMPT, guidance_scale=1.0, **SMALL).latents
    guided = teacher(PROMPT, guidance_scale=5.0, **SMALL).latents
    assert plain.isfinite().all()
    assert not torch.allclose(plain, guided)


def test_a_nano_teacher_is_guided_at_high_noise_only():
    teacher, calls = random_pipeline("nano-teacher"), []
    teacher.unet.register_forward_pre_hook(
        lambda _, inputs: calls.append((int(inputs[1]), len(inputs[0])))
    )
    teacher("a", **{**SMALL, "num_inference_steps": 5})
    cfg_start_timestep = teacher.trained.cfg_start_timestep
    assert [count for _, count in calls] == [2 if t >= cfg_start_timestep else 1 for t, _ in calls]
    assert {count for _, count in calls} == {1, 2}


def load_stored(config: UNetConfig, folder: Path) -> HummingbirdPipeline:
    """A random model of `config`, written to a file and read again."""
    torch.manual_seed(0)
    file = folder / "unet.safetensors"
    metadata = {CONFIG_KEY: ComponentConfigs(config, {}, {}).to_json()}
    save_file(HummingbirdUNet(config).state_dict(), file, metadata)
    return HummingbirdPipeline(load_checkpoint(file).unet, None, build_text_encoder().eval())


def ddim_latents(pipe: HummingbirdPipeline, rescale: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two steps of the pipeline, and of DDIM with or without the latents' scale."""
    noise, context = initial_noise((1, 4, 2, 4, 4), 0), pipe.encode_prompt(PROMPT)
    sampled = pipe.sample(context, latents=noise, noises=(), num_inference_steps=2)
    predict = cfg_eps(pipe.unet, context, pipe.encode_prompt(""), 7.5, 8, 0)
    with torch.no_grad():
        return sampled, sample_ddim(predict, noise, 2, rescale=rescale)


def test_a_pruned_videocrafter2_is_sampled_with_its_latent_rescaling(tmp_path):
    teacher = UNetConfig.from_preset("videocrafter2", **NARROW)
    student = student_config(teacher, map_to(teacher, replace(teacher, num_res_blocks=1)))
    pipe = load_stored(replace(student, guidance_embedding=False), tmp_path)
    assert pipe.unet.config.preset is None
    sampled, expected = ddim_latents(pipe, rescale=True)
    assert torch.equal(sampled, expected)
    assert not torch.equal(sampled, ddim_latents(pipe, rescale=False)[1])


def test_a_model_of_the_same_shape_without_the_trait_is_sampled_without(tmp_path):
    config = UNetConfig.from_preset("videocrafter2", **NARROW, dynamic_rescale=False)
    sampled, expected = ddim_latents(load_stored(config, tmp_path), rescale=False)
    assert torch.equal(sampled, expected)


def test_progress_is_told_of_every_step(pipe):
    seen: list[tuple[int, int, str]] = []
    pipe(PROMPT, **SMALL, progress=lambda *args: seen.append(args))
    assert seen == [(1, 2, "sampling"), (2, 2, "sampling"), (3, 3, "decoding")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": " "}, "empty prompt"),
        ({"prompt": []}, "empty prompt"),
        ({"width": 60}, "try 64"),
        ({"height": 0}, "try 8"),
        ({"num_frames": 0}, "expected 1 to 1,000,000"),
        ({"num_inference_steps": 0}, "0"),
        ({"num_inference_steps": 51}, "51"),
        ({"guidance_scale": float("nan")}, "nan"),
        ({"guidance_scale": -1}, "-1"),
        ({"fps": 0}, "expected 0.01 to 1000"),
        ({"seed": -1}, "-1"),
    ],
)
def test_bad_settings(pipe, change, message):
    with pytest.raises(InputError, match=message):
        pipe(**{"prompt": PROMPT, **SMALL, **change})


def test_untrained_frame_counts_are_said(pipe, caplog):
    pipe(PROMPT, **SMALL)
    assert "trained on 16" in caplog.text


def test_nan_latents_are_named(pipe):
    with pytest.raises(NumericalError, match="latents"):
        pipe.decode(torch.full((1, 4, 1, 2, 2), float("nan")))


def test_unknown_models_and_devices():
    with pytest.raises(CheckpointError, match="hummingbird download"):
        resolve_model("no-such-model")
    with pytest.raises(InputError, match="toaster"):
        HummingbirdPipeline.from_pretrained("nano", device="toaster")


def test_a_hub_id_is_found_in_the_local_cache_only(tmp_path):
    snapshot = tmp_path / "models--someone--birds" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    refs = tmp_path / "models--someone--birds" / "refs"
    refs.mkdir()
    (refs / "main").write_text("0" * 40)
    code = (
        "from hummingbird_core.hub.local import resolve_model;"
        "print(resolve_model('someone/birds'));"
        "resolve_model('someone/else')"
    )
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert Path(done.stdout.strip()) == snapshot
    assert "hummingbird download" in done.stderr.splitlines()[-1]


def test_noises_that_end_too_early(pipe):
    with pytest.raises(InputError, match="expected 1"):
        pipe.sample(
            pipe.encode_prompt(PROMPT),
            latents=torch.zeros(1, 4, 1, 2, 2),
            noises=[],
            num_inference_steps=2,
        )


def test_a_part_that_is_missing_is_named(pipe):
    bare = HummingbirdPipeline(pipe.unet)
    with pytest.raises(CheckpointError, match="text encoder"):
        bare(PROMPT)
    with pytest.raises(CheckpointError, match="VAE"):
        bare.decode(torch.zeros(1, 4, 1, 2, 2))


# --- the built-in model ---


@pytest.mark.parametrize("held_out", HELD_OUT)
def test_built_in_model_is_as_good_as_its_recorded_table(built_in, held_out):
    """With 24 of the table's prompts, four standard deviations below what it says."""
    recorded = json.loads((BENCHMARKS / "nano.json").read_text())["steps"]["4"]
    expected_of = recorded[held_out]["accuracy"]
    measured = evaluate_nano(built_in, 24, held_out=held_out).accuracies
    for kind, accuracy in measured.items():
        expected = expected_of[kind]
        slack = 4 * math.sqrt(max(expected * (1 - expected), 0.01) / accuracy.total)
        assert accuracy.value >= expected - slack, kind


@pytest.mark.parametrize("direction", ["left", "right", "up", "down"])
def test_built_in_model_moves_as_asked(built_in, direction):
    frames = built_in(f"a red circle moves {direction}").frames[0]
    (seen,) = read_scene(frames, NANO_FPS).subjects
    assert (seen.look.color, seen.motion) == ("red", direction)


def test_built_in_model_says_which_words_it_does_not_know(built_in, caplog):
    video = built_in("a red dragon moves right", num_inference_steps=1)
    assert video.text.unknown == [["dragon"]]
    assert "dragon" in caplog.text
