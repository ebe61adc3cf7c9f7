"""Start images in ComfyUI: our sampler and stock samplers keep the frames; refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.comfy.graphs import PROMPT
from support.comfy.native import encode, settings
from torch import Tensor


@pytest.fixture(scope="module")
def image() -> Tensor:
    """IMAGE `[2, 64, 64, 3]`: two frames of a bright square on dark ground."""
    frames = torch.full((2, 64, 64, 3), 0.2)
    frames[0, 20:40, 10:30] = torch.tensor([0.9, 0.1, 0.1])
    frames[1, 20:40, 12:32] = torch.tensor([0.9, 0.1, 0.1])
    return frames


def encoded(vae: Any, image: Tensor) -> dict[str, Tensor]:
    """Return what VAE Encode gives."""
    import nodes

    return nodes.VAEEncode().encode(vae, image)[0]


def ksampler(model: Any, positive: list, latent: dict, sampler: str = "lcm") -> Tensor:
    import nodes

    return nodes.common_ksampler(
        model, 1, 4, 1.0, sampler, "sgm_uniform", positive, positive, latent
    )[0]["samples"]


@pytest.mark.parametrize("frames", [6, 30])
def test_sample_video_makes_the_video_of_the_pipeline(adapter, nano, positive, image, frames):
    """In one piece, and in windows with a keyframe pass."""
    pipe = adapter.core_pipeline.HummingbirdPipeline.from_pretrained("nano", device="cpu")
    expected = pipe(
        PROMPT, num_frames=frames, num_inference_steps=2, seed=1, start_image=image.numpy()
    ).frames[0]
    start = encoded(nano.vae, image)
    config = settings(adapter, frames=frames)
    got = adapter.sample.sample_video(nano.model, positive, config, 1, start_image=start)
    assert torch.equal(got["samples"][:, :, :2], start["samples"])
    assert "noise_mask" not in got
    images = adapter.frames.decode(nano.vae, got)
    difference = (images * 255).round() - torch.from_numpy(expected).float()
    assert difference.abs().mean() < 0.5
    plain = adapter.sample.sample_video(nano.model, positive, config, 1)["samples"]
    assert not torch.allclose(plain[:, :, 2:], got["samples"][:, :, 2:], atol=1e-2)


def test_a_teacher_keeps_it_too(adapter, image):
    models = adapter.checkpoint.load_models(
        adapter.core_hub_local.resolve_model("nano-teacher"), "fp32"
    )
    start = encoded(models.vae, image)
    got = adapter.sample.sample_video(
        models.model,
        encode(adapter, models, PROMPT),
        settings(adapter),
        1,
        negative=encode(adapter, models, ""),
        start_image=start,
    )["samples"]
    assert torch.equal(got[:, :, :2], start["samples"])


@pytest.mark.parametrize("sampler", ["lcm", "euler", "dpmpp_2m"])
def test_stock_samplers_keep_the_frames_of_an_empty_video(
    node_classes, nano, positive, image, sampler
):
    start = encoded(nano.vae, image)
    empty = node_classes["HummingbirdEmptyVideo"].execute(8, 8, 6, 1, start)[0]
    assert empty["samples"].shape == (1, 4, 6, 8, 8)  # the size of the image
    for frame in range(2, 6):  # at rest
        assert torch.equal(empty["samples"][:, :, frame], start["samples"][:, :, -1])
    got = ksampler(nano.model, positive, empty, sampler)
    torch.testing.assert_close(got[:, :, :2], start["samples"], atol=1e-4, rtol=1e-4)
    changed = {**empty, "samples": empty["samples"] * 0.5}
    other = ksampler(nano.model, positive, changed, sampler)
    assert not torch.allclose(got[:, :, 2:], other[:, :, 2:], atol=1e-3)  # they are seen


def test_core_nodes_alone_keep_frames(nano, positive, image):
    """Frames are put in by ReplaceVideoLatentFrames, and kept by a mask of SetLatentNoiseMask."""
    import comfy_extras.nodes_post_processing  # noqa: F401 - the other way round is a circle
    from comfy_extras import nodes_latent

    import nodes

    if not hasattr(nodes_latent, "ReplaceVideoLatentFrames"):
        pytest.skip("this release has no Replace Video Latent Frames")
    start, empty = encoded(nano.vae, image), {"samples": torch.zeros(1, 4, 6, 8, 8)}
    latent = nodes_latent.ReplaceVideoLatentFrames.execute(empty, 0, start)[0]
    mask = torch.ones(6, 64, 64)
    mask[:2] = 0
    (latent,) = nodes.SetLatentNoiseMask().set_mask(latent, mask)
    got = ksampler(nano.model, positive, latent)
    torch.testing.assert_close(got[:, :, :2], start["samples"], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(got[:, :, 2:3], got[:, :, 3:4], atol=1e-2)


def test_a_batch_and_a_swing_start_with_it(adapter, node_classes, nano, positive, image):
    start = encoded(nano.vae, image)
    batch = node_classes["HummingbirdEmptyVideo"].execute(64, 64, 4, 2)[0]
    got = adapter.sample.sample_video(
        nano.model, positive, settings(adapter), 1, latent=batch, start_image=start
    )["samples"]
    assert torch.equal(got[:, :, :2], start["samples"].expand(2, -1, -1, -1, -1))
    assert not torch.allclose(got[0, :, 2:], got[1, :, 2:], atol=1e-2)
    swing = adapter.sample.sample_video(
        nano.model, positive, settings(adapter, frames=6, loop="swing"), 1, start_image=start
    )["samples"]
    assert torch.equal(swing[:, :, :2], start["samples"])
    assert torch.equal(swing[:, :, 5], swing[:, :, 1])


def test_what_does_not_fit_is_refused(adapter, node_classes, nano, positive, image):
    start = encoded(nano.vae, image)
    small = encoded(nano.vae, image[:, :32])
    error, sample = adapter.core_errors.InputError, adapter.sample.sample_video
    empty = node_classes["HummingbirdEmptyVideo"].execute(64, 64, 4, 1)[0]
    masked = {**empty, "noise_mask": torch.ones(1, 1, 8, 8)}
    for latent, given, frames, names in (
        (empty, small, 4, r"input start_image: got 64x32 pixels for a video of 64x64"),
        (None, start, 2, r"input start_image: got 1 videos of 2 frames for 1 of 2"),
        (empty, {"samples": torch.zeros(3, 4, 1, 8, 8)}, 4, r"start_image: got 3 videos"),
        (None, {"samples": torch.zeros(1, 16, 1, 8, 8)}, 4, r"input start_image: got shape"),
        (None, {"samples": torch.zeros(1, 4, 8, 8)}, 4, r"input start_image: got shape"),
        (masked, start, 4, r"input latent: got a mask together with a start image"),
    ):
        with pytest.raises(error, match=names):
            sample(
                nano.model,
                positive,
                settings(adapter, frames=frames),
                0,
                latent=latent,
                start_image=given,
            )
