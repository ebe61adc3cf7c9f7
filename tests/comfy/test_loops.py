"""Loops and prompts over time in ComfyUI: our sampler, stock samplers, windows, refusals."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.comfy.native import settings
from torch import Tensor

STORY = "0: a red circle moves right; 3: a blue square moves up"


@pytest.fixture(scope="module")
def circular(adapter: SimpleNamespace, nano):
    """MODEL of random weights without a position code, as the large ones, with nano's sizes."""
    config = replace(
        nano.model.model.diffusion_model.config, frame_phase=False, loop_words=None, frames=(6,)
    )
    torch.manual_seed(0)
    unet = adapter.core_unet.HummingbirdUNet(config)
    return adapter.unet.build_model(config, unet.state_dict(), dtype=torch.float32)


@pytest.fixture
def story(adapter: SimpleNamespace, nano) -> list:
    return adapter.prompt.encode_prompt(nano.clip, STORY)[0]


def predict(model: Any, positive: list, x: Tensor, sigma: float = 5.0) -> Tensor:
    """Return one prediction of clean latents with stock code, as every sampler asks for it."""
    import comfy.sample
    import comfy.samplers

    seen = []

    def sampler(model_of_run, x, sigmas, extra_args=None, callback=None, disable=None):
        seen.append(model_of_run(x, sigmas[:1].expand(len(x)), **extra_args))
        return seen[-1]

    comfy.sample.sample_custom(
        model,
        torch.zeros_like(x),
        1.0,
        comfy.samplers.KSAMPLER(sampler),
        torch.tensor([sigma, 0.0]),
        positive,
        positive,
        x,
        disable_pbar=True,
    )
    return seen[0]


def test_a_loop_can_begin_at_any_frame_with_stock_samplers(adapter, circular, positive):
    loop = adapter.timeline.with_loop(circular)
    x = torch.randn(1, 4, 6, 8, 8)
    once, rolled = (predict(loop, positive, x.roll(n, dims=2)) for n in (0, 2))
    torch.testing.assert_close(rolled, once.roll(2, dims=2), atol=1e-4, rtol=1e-4)
    with_ends = [predict(circular, positive, x.roll(n, dims=2)) for n in (0, 2)]
    assert not torch.allclose(with_ends[1], with_ends[0].roll(2, dims=2), atol=1e-3)


def test_sample_video_makes_the_loop_of_the_pipeline(adapter, circular, positive):
    unet = adapter.core_unet.HummingbirdUNet(circular.model.diffusion_model.config).eval()
    unet.load_state_dict(circular.model.diffusion_model.state_dict())
    pipe = adapter.core_pipeline.HummingbirdPipeline(unet)
    for frames in (6, 20):  # in one piece, and in windows
        config = settings(adapter, frames=frames, loop=True)
        got = adapter.sample.sample_video(circular, positive, config, 3)["samples"]
        shape = (1, 4, frames, 8, 8)
        windows = pipe.context_windows(frames, loop=True)
        noise = adapter.core_sampling.initial_noise(shape, 3)
        expected = pipe.sample(
            positive[0][0],
            latents=adapter.core_sampling_context_windows.freenoise_shuffle(noise, windows),
            noises=adapter.core_sampling.step_noises(shape, 3),
            num_inference_steps=2,
            windows=windows,
        )
        torch.testing.assert_close(
            got, expected / circular.model.latent_format.scale_factor, atol=1e-3, rtol=1e-3
        )


@pytest.mark.parametrize("frames", [6, 30])
def test_a_story_is_that_of_the_command_line(adapter, nano, story, frames):
    config = settings(adapter, frames=frames)
    got = adapter.sample.sample_video(nano.model, story, config, 1)
    pipe = adapter.core_pipeline.HummingbirdPipeline.from_pretrained("nano", device="cpu")
    expected = pipe(STORY, num_frames=frames, num_inference_steps=2, seed=1)
    images = adapter.frames.decode(nano.vae, got)
    difference = (images * 255).round() - torch.from_numpy(expected.frames[0]).float()
    assert difference.abs().mean() < 0.5


def test_a_story_works_with_stock_samplers_and_windows(adapter, nano, story):
    """KSampler's guider, then ComfyUI's own windows: frames far from the border are each text's."""
    import comfy.context_windows as windows

    red, blue = (
        adapter.prompt.encode_prompt(nano.clip, text)[0]
        for text in ("a red circle moves right", "a blue square moves up")
    )
    long = adapter.prompt.encode_prompt(nano.clip, STORY.replace("3:", "16:"))[0]
    x = torch.randn(1, 4, 32, 8, 8)
    model = nano.model.clone()
    schedule = windows.get_matching_context_schedule("standard_static")
    fuse = windows.get_matching_fuse_method("pyramid")
    model.model_options["context_handler"] = windows.IndexListContextHandler(
        schedule, fuse, context_length=8, context_overlap=0, dim=2
    )
    got, of_red, of_blue = (predict(model, text, x) for text in (long, red, blue))
    torch.testing.assert_close(got[:, :, :8], of_red[:, :, :8], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(got[:, :, 24:], of_blue[:, :, 24:], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(got[:, :, 24:], of_red[:, :, 24:], atol=1e-2)


def test_a_plain_prompt_is_encoded_as_before(adapter, nano, positive):
    (tensor, values), *others = adapter.prompt.encode_prompt(nano.clip, "a red circle moves right")[
        0
    ]
    assert not others
    assert torch.equal(tensor, positive[0][0])
    assert values[adapter.timeline.PROMPT_KEY].text_weights(16, 8.0) is None


def test_a_swing_goes_there_and_back(adapter, nano, positive):
    swing = adapter.sample.sample_video(
        nano.model, positive, settings(adapter, frames=6, loop="swing"), 0
    )["samples"]
    there = adapter.sample.sample_video(nano.model, positive, settings(adapter, frames=4), 0)
    assert torch.equal(swing, there["samples"][:, :, [0, 1, 2, 3, 2, 1]])


def test_loops_and_stories_that_cannot_be_are_refused(adapter, circular, nano, positive, story):
    sample, error = adapter.sample.sample_video, adapter.core_errors.InputError
    across = adapter.prompt.encode_prompt(nano.clip, "a red circle moves right")[0]
    with pytest.raises(error, match=r"input positive: got loop with .*a motion that comes back"):
        sample(nano.model, across, settings(adapter, loop=True), 0)
    with pytest.raises(error, match=r"input frames: .*2 frames"):
        sample(circular, positive, settings(adapter, frames=2, loop=True), 0)
    with pytest.raises(error, match=r"input frames: .*5 frames"):
        sample(nano.model, positive, settings(adapter, frames=5, loop="swing"), 0)
    with pytest.raises(error, match=r"input positive: .*over time.*swing"):
        sample(nano.model, story, settings(adapter, frames=6, loop="swing"), 0)
    with pytest.raises(error, match=r"input prompt: .*3:.*3 frames"):
        sample(nano.model, story, settings(adapter, frames=3), 0)
    with pytest.raises(error, match=r"input prompt: .*empty part"):
        adapter.prompt.encode_prompt(nano.clip, "0: a red circle;; 3: b")
    changed = [[story[0][0] * 0.5, story[0][1]]]
    with pytest.raises(error, match="another node has changed"):
        sample(nano.model, changed, settings(adapter, frames=6), 0)


def test_windows_with_two_ends_are_refused_for_a_loop(adapter, circular, positive):
    import comfy.context_windows as windows

    loop = adapter.timeline.with_loop(circular)
    schedule = windows.get_matching_context_schedule("looped_uniform")
    fuse = windows.get_matching_fuse_method("pyramid")
    for closed in (False, True):
        loop.model_options["context_handler"] = windows.IndexListContextHandler(
            schedule, fuse, context_length=8, context_overlap=4, closed_loop=closed, dim=2
        )
        x = torch.randn(1, 4, 16, 8, 8)
        if closed:
            assert predict(loop, positive, x).shape == x.shape
        else:
            with pytest.raises(adapter.core_errors.InputError, match="closed_loop"):
                predict(loop, positive, x)
