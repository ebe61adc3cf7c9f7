"""Long videos: the arithmetic of windows, and the pipeline that uses them on random weights."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from support.command_line import error_of, run
from support.models import relative_l2, rnd
from torch import Tensor

from hummingbird_core.errors import InputError
from hummingbird_core.pipeline import HummingbirdPipeline
from hummingbird_core.pipeline.pipeline import DECODED_FRAMES
from hummingbird_core.sampling import add_noise, initial_noise, predict_x0, step_noises
from hummingbird_core.sampling.clip_frames import ClipFrames
from hummingbird_core.sampling.context_windows import (
    KEYFRAME_TIMESTEP,
    ContextWindows,
    blend_windows,
    freenoise_shuffle,
    interpolate_frames,
    keyframe_indices,
    predict_keyframes,
    sliding_window,
    window_starts,
    window_weights,
)
from hummingbird_core.settings import WINDOW_FRAMES
from hummingbird_core.training.nano.autoencoder import build_vae
from hummingbird_core.training.nano.text import build_text_encoder
from hummingbird_core.unet import HummingbirdUNet, UNetConfig
from hummingbird_core.unet.config import PRESETS
from hummingbird_core.video import read_metadata, read_video

PROMPT = "a red circle moves right"
QUARTERS = ContextWindows(length=4, overlap=2)
SMALL = {"width": 16, "height": 16, "num_inference_steps": 2}


@pytest.fixture(scope="module")
def pipe() -> HummingbirdPipeline:
    torch.manual_seed(0)
    unet = HummingbirdUNet(UNetConfig.from_preset("hummingbird-nano")).eval()
    return HummingbirdPipeline(unet, build_vae().eval(), build_text_encoder().eval())


# --- windows -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("num_frames", "length", "overlap", "expected"),
    [
        (64, 16, 8, [0, 8, 16, 24, 32, 40, 48]),
        (16, 16, 8, [0]),
        (5, 16, 8, [0]),
        (17, 16, 8, [0, 1]),
        (32, 16, 0, [0, 16]),
        (40, 16, 4, [0, 12, 24]),
    ],
)
def test_starts_of_windows(num_frames, length, overlap, expected):
    assert window_starts(num_frames, length, overlap) == expected


@pytest.mark.parametrize("num_frames", range(16, 140, 7))
@pytest.mark.parametrize("overlap", [0, 4, 8, 15])
def test_windows_cover_all_frames_and_overlap_enough(num_frames, overlap):
    starts = window_starts(num_frames, 16, overlap)
    assert (starts[0], starts[-1]) == (0, num_frames - 16)
    assert all(0 < b - a <= 16 - overlap for a, b in pairwise(starts))


def test_weights_are_a_triangle_that_adds_up_evenly_at_half_overlap():
    assert window_weights(4).tolist() == [0.5, 1.5, 1.5, 0.5]
    assert window_weights(5).tolist() == [0.5, 1.5, 2.5, 1.5, 0.5]
    weights = window_weights(16)
    assert torch.equal(weights[8:] + weights[:8], torch.full((8,), 8.0))


def test_calls_are_counted():
    timesteps = [999, 759, 519, 279]
    assert ContextWindows(16, 8).count_calls(timesteps, 64) == 4 * 7
    assert ContextWindows(16, 8, keyframe_pass=True).count_calls(timesteps, 64) == 3 + 7
    assert ContextWindows(16, 8, keyframe_pass=True).count_calls(timesteps, 16) == 4


# --- blending ------------------------------------------------------------------------------------


def test_blending_predictions_that_agree_changes_nothing():
    sample = rnd("sample", (2, 4, 11, 3, 3))
    blended = blend_windows(lambda part, _: part.tanh(), sample, QUARTERS)
    assert relative_l2(blended, sample.tanh()) < 1e-6


def test_the_middle_of_a_window_counts_more_than_its_ends():
    sample = torch.zeros(1, 1, 6, 1, 1)
    values = iter([0.0, 1.0])
    blended = blend_windows(lambda part, _: torch.full_like(part, next(values)), sample, QUARTERS)
    # The windows 0..3 and 2..5 have the weights 1.5, 0.5 and 0.5, 1.5 on the frames 2 and 3.
    assert blended.flatten().tolist() == [0, 0, 0.25, 0.75, 1, 1]


def test_predictions_may_have_more_axes_in_front():
    sample = rnd("sample", (2, 4, 11, 3, 3))

    def both(part: Tensor, _: ClipFrames) -> Tensor:
        return torch.stack([part, -part])

    for fused in (blend_windows, predict_keyframes):
        positive, negative = fused(both, sample, QUARTERS)
        assert torch.equal(positive, -negative)
        assert torch.equal(positive, fused(lambda part, _: part, sample, QUARTERS))


# --- overview ------------------------------------------------------------------------------------


def test_an_overview_has_the_first_and_the_last_frame():
    assert keyframe_indices(64, 4).tolist() == [0, 21, 42, 63]
    assert keyframe_indices(4, 4).tolist() == [0, 1, 2, 3]


def test_frames_between_are_mixtures_of_their_neighbours():
    frames = torch.tensor([0.0, 10.0, 40.0]).reshape(1, 3, 1, 1)
    assert interpolate_frames(frames, 5).flatten().tolist() == [0, 5, 10, 25, 40]
    assert torch.equal(interpolate_frames(frames, 3), frames)


@pytest.mark.parametrize("t", [999, KEYFRAME_TIMESTEP, KEYFRAME_TIMESTEP - 1, 279])
def test_noisy_steps_see_the_overview_and_clear_ones_the_windows(t):
    """The prediction knows the clean video, so that the result is right whatever it has seen."""
    x0 = torch.linspace(0, 1, 13).reshape(1, 1, 13, 1, 1).expand(1, 4, 13, 2, 2)
    noise = rnd("noise", x0.shape)
    sample = add_noise(x0, noise, t)
    seen = []

    def true_noise(part: Tensor, _: int, clip: ClipFrames) -> Tensor:
        frames = (part[0, 0, :, None, 0, 0] == sample[0, 0, None, :, 0, 0]).nonzero()[:, 1]
        assert torch.equal(frames, clip.frames)
        seen.append(frames.tolist())
        return noise[:, :, frames]

    eps = sliding_window(true_noise, ContextWindows(length=4, overlap=2, keyframe_pass=True))(
        sample, t
    )
    assert relative_l2(predict_x0(sample, eps, t), x0) < 1e-4
    windows = [list(range(start, start + 4)) for start in (0, 2, 4, 5, 7, 9)]
    assert seen == ([[0, 4, 8, 12]] if t >= KEYFRAME_TIMESTEP else windows)


# --- noise ---------------------------------------------------------------------------------------


def test_every_window_starts_from_the_noise_of_the_first_in_another_order():
    noise = rnd("noise", (1, 4, 12, 2, 2))
    shared = freenoise_shuffle(noise, QUARTERS)
    assert torch.equal(shared[:, :, :4], noise[:, :, :4])
    first = sorted(noise[0, 0, :4, 0, 0].tolist())
    for start in window_starts(12, 4, 2):
        assert sorted(shared[0, 0, start : start + 4, 0, 0].tolist()) == first
    assert torch.equal(freenoise_shuffle(noise, QUARTERS), shared)


def test_noise_stays_as_it_is_for_short_videos_and_for_an_overview():
    noise = rnd("noise", (1, 4, 12, 2, 2))
    for windows in (ContextWindows(12, 6), ContextWindows(4, 2, keyframe_pass=True)):
        assert torch.equal(freenoise_shuffle(noise, windows), noise)


# --- loops ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("num_frames", "length", "overlap"), [(64, 16, 8), (17, 16, 8), (27, 16, 12), (9, 4, 0)]
)
def test_the_windows_of_a_loop_go_around(num_frames, length, overlap):
    windows = ContextWindows(length, overlap, loop=True)
    clips = windows.clips(num_frames)
    covered = torch.cat([clip.frames for clip in clips]).bincount(minlength=num_frames)
    assert covered.min() >= 1
    for clip in clips:
        assert clip.frames.unique().numel() == length
        assert set(clip.frames.diff().tolist()) <= {1, 1 - num_frames}
        assert not clip.loop  # its own ends don't meet
    across = [c for c in clips if {0, num_frames - 1} <= set(c.frames.tolist())]
    assert across or overlap == 0
    assert windows.count_calls([999, 279], num_frames) == 2 * len(clips)


def test_a_window_across_the_end_makes_no_frame_special():
    """A prediction that is 1 in the middle of a window: a roll by a stride rolls the result."""
    windows = ContextWindows(8, 4, loop=True)
    sample = rnd("sample", (1, 4, 24, 2, 2))
    ramp = torch.linspace(0, 1, 8)[:, None, None]

    def predict(part: Tensor, _: ClipFrames) -> Tensor:
        return part.tanh() * ramp

    blended = blend_windows(predict, sample, windows)
    rolled = blend_windows(predict, sample.roll(4, dims=2), windows)
    torch.testing.assert_close(rolled, blended.roll(4, dims=2))


def test_the_overview_of_a_loop_goes_around():
    windows = ContextWindows(4, 2, keyframe_pass=True, loop=True)
    assert windows.keyframes(64).frames.tolist() == [0, 16, 32, 48]
    assert windows.keyframes(64).loop
    frames = torch.tensor([0.0, 10.0, 40.0]).reshape(1, 3, 1, 1)
    assert interpolate_frames(frames, 6, loop=True).flatten().tolist() == [0, 5, 10, 25, 40, 20]


def test_no_window_of_a_loop_has_the_noise_of_a_frame_twice():
    noise = rnd("noise", (1, 1, 11, 1, 1))
    windows = ContextWindows(4, 2, loop=True)
    shared = freenoise_shuffle(noise, windows).flatten()
    for start in (0, 2, 4, 8, 9, 10):
        frames = (torch.arange(4) + start) % 11
        assert shared[frames].unique().numel() == 4
    assert sorted(shared[:4].tolist()) == sorted(shared[4:8].tolist())


# --- the pipeline --------------------------------------------------------------------------------


def test_defaults(pipe):
    assert all(WINDOW_FRAMES in config.frames for config in PRESETS.values())
    assert not pipe.context_windows(26).are_needed(26)
    assert pipe.context_windows(27) == ContextWindows(16, 12, keyframe_pass=True)
    assert pipe.context_windows(27, 10) == ContextWindows(10, 7, keyframe_pass=True)
    assert pipe.context_windows(27, from_noise=False) == ContextWindows(16, 8)
    with torch.device("meta"):
        big = HummingbirdPipeline(HummingbirdUNet(UNetConfig.from_preset("hummingbird-0.7b")))
    assert not big.context_windows(26).are_needed(26)
    assert big.context_windows(27) == ContextWindows(16, 8)
    assert big.context_windows(27, overlap=4) == ContextWindows(16, 4)


def test_a_video_of_one_window_is_the_same_bit_for_bit(pipe):
    plain = pipe(PROMPT, num_frames=5, **SMALL)
    for length in (5, 16):
        windowed = pipe(PROMPT, num_frames=5, context_length=length, **SMALL)
        assert torch.equal(windowed.latents, plain.latents)
        assert (windowed.frames == plain.frames).all()


@pytest.mark.parametrize("preset", ["hummingbird-nano", "nano-teacher"])
def test_the_unet_sees_one_window_at_a_time_and_the_vae_a_few_frames(preset):
    """Memory is that of one window, however long the video is."""
    torch.manual_seed(0)
    unet = HummingbirdUNet(UNetConfig.from_preset(preset)).eval()
    pipe = HummingbirdPipeline(unet, build_vae().eval(), build_text_encoder().eval())
    shapes, decoded, told = [], [], []
    pipe.unet.register_forward_pre_hook(lambda _, args: shapes.append(args[0].shape))
    pipe.vae.decoder.conv_in.register_forward_pre_hook(lambda _, args: decoded.append(len(args[0])))
    video = pipe(
        PROMPT,
        num_frames=2 * DECODED_FRAMES + 6,
        context_length=8,
        progress=lambda *step: told.append(step),
        **SMALL,
    )
    assert video.frames.shape[1] == 70
    assert {shape[2] for shape in shapes} == {8}
    assert (sum(decoded), max(decoded)) == (70, DECODED_FRAMES)
    calls = [step for step in told if step[2] == "sampling"]
    assert calls == [(i + 1, len(shapes), "sampling") for i in range(len(shapes))]
    assert told[-1] == (70, 70, "decoding")


def test_a_long_video_is_the_same_again_and_in_a_batch(pipe):
    settings = {"num_frames": 11, "context_length": 4, **SMALL}
    batch = pipe([PROMPT, PROMPT], seed=5, **settings)
    assert torch.equal(pipe([PROMPT, PROMPT], seed=5, **settings).latents, batch.latents)
    assert relative_l2(batch.latents[1:], pipe(PROMPT, seed=6, **settings).latents) < 1e-4


def test_windows_and_their_overlap_change_the_video(pipe):
    settings = {"num_frames": 11, **SMALL}
    whole, blended, cut = (
        pipe(PROMPT, context_length=length, context_overlap=overlap, **settings).latents
        for length, overlap in ((11, None), (4, 2), (4, 0))
    )
    assert relative_l2(blended, whole) > 1e-3
    assert relative_l2(blended, cut) > 1e-3


def test_call_is_sampling_in_windows_of_shared_noise(pipe):
    """For a model without an overview."""
    torch.manual_seed(0)
    config = UNetConfig.from_preset("hummingbird-nano", frame_phase=False)
    plain = HummingbirdPipeline(HummingbirdUNet(config).eval(), pipe.vae, pipe.text_encoder)
    windows = plain.context_windows(11, 4)
    assert not windows.keyframe_pass
    video = plain(PROMPT, num_frames=11, context_length=4, seed=3, **SMALL)
    shape = video.latents.shape
    with torch.no_grad():
        latents = plain.sample(
            plain.encode_prompt(PROMPT),
            latents=freenoise_shuffle(initial_noise(shape, 3), windows),
            noises=step_noises(shape, 3),
            num_inference_steps=2,
            windows=windows,
        )
    assert torch.equal(latents, video.latents)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"context_length": 1}, "at least 2"),
        ({"context_overlap": -1}, "expected 0 to 15"),
        ({"context_overlap": 16}, "expected 0 to 15"),
        ({"context_length": 8, "context_overlap": 8}, "expected 0 to 7"),
    ],
)
def test_bad_windows(pipe, change, message):
    with pytest.raises(InputError, match=message):
        pipe(PROMPT, num_frames=20, **SMALL, **change)


def test_long_videos_are_no_longer_warned_about(pipe, caplog):
    pipe(PROMPT, num_frames=28, **SMALL)
    assert "trained on" not in caplog.text
    pipe(PROMPT, num_frames=28, context_length=17, **SMALL)
    assert "17 frames" in caplog.text


# --- the command line ----------------------------------------------------------------------------


def test_generate_makes_long_videos(capsys, tmp_path):
    """And keeps how, beside the other settings."""
    path = tmp_path / "long.gif"
    options = ["--frames", 18, "--steps", 1, "--context-length", 8]
    assert run(capsys, "generate", PROMPT, "-o", path, *options)[0] == 0
    assert len(read_video(path).frames) == 18
    found = read_metadata(path)
    assert (found["num_frames"], found["context_length"]) == (18, 8)


def test_bad_windows_are_found_before_a_model_is_loaded(capsys, tmp_path):
    options = ["-o", tmp_path / "long.gif", "--context-overlap", 16, "--model", "missing"]
    assert "expected 0 to 15" in error_of(capsys, "generate", PROMPT, *options)
