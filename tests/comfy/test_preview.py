"""Previews that move, while our sampling node samples and while ComfyUI's own do."""

from __future__ import annotations

import base64
import importlib
import io

import numpy as np
import pytest
import torch
from PIL import Image
from support.comfy.graphs import FRAMES, base, ksampler, sample_video, saved_images
from support.comfy.native import settings

STEPS = 3
# A seed for each test: the server computes nothing twice.
SAMPLERS = {
    "HummingbirdSample": sample_video(steps=STEPS, seed=1001),
    "KSampler": ksampler(["load", 0], ["empty", 0], steps=STEPS, seed=1001),
}


@pytest.fixture(scope="module")
def preview(pack):
    return importlib.import_module("hummingbird_pack.nodes.adapter.ui.preview")


def _played(webp: bytes) -> np.ndarray:
    """All frames of an animated picture: `[T, H, W, 3]`."""
    with Image.open(io.BytesIO(webp)) as picture:
        frames = []
        for index in range(picture.n_frames):
            picture.seek(index)
            frames.append(np.asarray(picture.convert("RGB")))
    return np.stack(frames)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_each_step_sends_the_whole_video(server, sampler):
    graph = {**base(), "sample": SAMPLERS[sampler], **saved_images(["sample", 0])}
    previews = server.run_and_listen(graph, "hummingbird_preview")
    assert [sent["node"] for sent in previews] == ["sample"] * STEPS
    for sent in previews:
        frames = _played(base64.b64decode(sent["webp"]))
        assert frames.shape == (FRAMES, 8, 8, 3)
        assert (sent["height"], sent["width"]) == frames.shape[1:3]
    assert previews[0]["webp"] != previews[-1]["webp"]


def test_it_shows_what_the_video_will_show(preview, adapter, nano, positive):
    """Its rough colours follow those of the decoded frames."""
    latent = adapter.sample.sample_video(nano.model, positive, settings(adapter, steps=4), 0)
    latent_format = nano.model.model.latent_format
    sampled = latent_format.process_in(latent["samples"])  # as a sampler sees it
    shown = preview.preview_frames(sampled, latent_format).float()
    frames = adapter.frames.decode(nano.vae, latent).movedim(-1, 1)
    small = torch.nn.functional.adaptive_avg_pool2d(frames, 8).movedim(1, -1)
    pairs = torch.stack([shown.flatten(), small.flatten()])
    assert torch.corrcoef(pairs)[0, 1] > 0.8


def test_long_videos_are_thinned_out(preview, nano):
    latent_format = nano.model.model.latent_format
    frames = preview.preview_frames(torch.zeros(2, 4, 130, 2, 3), latent_format)
    assert frames.shape == (44, 2, 3, 3)


def test_there_is_none_unless_the_user_wants_previews(preview, nano, monkeypatch):
    from comfy.latent_formats import SD15

    assert not preview._is_shown(nano.model.model.latent_format)  # ComfyUI's default
    monkeypatch.setattr(preview.args, "preview_method", preview.LatentPreviewMethod.Auto)
    assert preview._is_shown(nano.model.model.latent_format)
    unknown = SD15()
    unknown.latent_rgb_factors = None
    assert not preview._is_shown(unknown)
