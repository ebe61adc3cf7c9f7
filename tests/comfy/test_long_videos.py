"""Sample Video beyond what the model was trained on: the windows of `generate`, or ComfyUI's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from support.comfy.graphs import PROMPT
from support.comfy.native import SIZE, encode, settings
from support.models import relative_l2

FRAMES = 28  # three windows of 16


@contextmanager
def calls_of(model) -> Iterator[list[torch.Size]]:
    """The shapes that the U-Net was called with."""
    shapes: list[torch.Size] = []
    unet = model.model.diffusion_model
    hook = unet.register_forward_pre_hook(lambda _, args: shapes.append(args[0].shape))
    try:
        yield shapes
    finally:
        hook.remove()


@pytest.mark.parametrize("name", ["nano", "nano-teacher"])
def test_a_long_video_has_the_frames_of_generate(adapter, name):
    """One step with an overview and two with windows, for student and teacher."""
    models = adapter.checkpoint.load_models(adapter.core_hub_local.resolve_model(name), "fp32")
    with calls_of(models.model) as shapes:
        latent = adapter.sample.sample_video(
            models.model,
            encode(adapter, models, PROMPT),
            settings(adapter, frames=FRAMES, steps=3, guidance=6.0),
            seed=7,
            negative=encode(adapter, models, ""),
        )
    frames = (adapter.frames.decode(models.vae, latent) * 255).round().to(torch.uint8).numpy()
    pipe = adapter.core_pipeline.HummingbirdPipeline.from_pretrained(name, device="cpu")
    wanted = {"num_frames": FRAMES, "num_inference_steps": 3, "guidance_scale": 6.0, "seed": 7}
    expected = pipe(PROMPT, **SIZE, **wanted)
    latents = latent["samples"] * pipe.vae.config["scaling_factor"]
    assert {shape[2] for shape in shapes} == {16}
    assert relative_l2(latents, expected.latents) <= 1e-4
    assert abs(frames.astype(int) - expected.frames[0].astype(int)).max() <= 1


def test_a_batch_of_long_videos_is_the_videos_of_the_following_seeds(adapter, nano, positive):
    def sample(seed: int, batch_size: int):
        empty = adapter.latents.empty_video(64, 64, FRAMES, batch_size)
        wanted = settings(adapter, frames=FRAMES)
        return adapter.sample.sample_video(nano.model, positive, wanted, seed, latent=empty)

    assert relative_l2(sample(3, 2)["samples"][1:], sample(4, 1)["samples"]) <= 1e-5
    assert "context_handler" not in nano.model.model_options


def test_context_windows_of_the_user_are_left_alone(adapter, nano, positive):
    import comfy.context_windows as windows

    model = nano.model.clone()
    model.model_options["context_handler"] = windows.IndexListContextHandler(
        windows.get_matching_context_schedule("standard_static"),
        windows.get_matching_fuse_method("pyramid"),
        context_length=12,
        context_overlap=4,
        dim=2,
    )
    wanted = settings(adapter, frames=FRAMES)
    with calls_of(model) as shapes:
        samples = adapter.sample.sample_video(model, positive, wanted, 0)["samples"]
    assert samples.shape[2] == FRAMES
    assert {shape[2] for shape in shapes} <= {12, 13}  # newer releases put one frame in front


def test_a_given_video_needs_no_overview(adapter, nano, positive):
    """It says already what is where: noisy steps, too, see windows of it."""
    video = adapter.latents.empty_video(64, 64, FRAMES)
    wanted = settings(adapter, frames=FRAMES, strength=0.5)  # timesteps 519 and 279
    with calls_of(nano.model) as shapes:
        adapter.sample.sample_video(nano.model, positive, wanted, 0, latent=video)
    assert [shape[2] for shape in shapes] == 6 * [16]


def test_memory_is_estimated_for_one_window(adapter, nano, positive, monkeypatch):
    """Or ComfyUI would unload other models for a long video."""
    model, shapes = nano.model.model, []
    estimate = model.memory_required

    def told(shape, *more, **named):
        shapes.append(shape)
        return estimate(shape, *more, **named)

    monkeypatch.setattr(model, "memory_required", told)
    wanted = settings(adapter, frames=FRAMES, steps=1)
    adapter.sample.sample_video(nano.model, positive, wanted, 0)
    assert shapes
    assert {shape[2] for shape in shapes} == {16}
