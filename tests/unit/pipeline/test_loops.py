"""Loops in the pipeline: exactness on random weights, swings, refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.command_line import error_of, run

from hummingbird_core.errors import InputError
from hummingbird_core.nano.world.captions import GOING, RETURNING, WAYS
from hummingbird_core.pipeline import HummingbirdPipeline
from hummingbird_core.sampling import initial_noise, step_noises
from hummingbird_core.settings import check_can_loop, check_loop
from hummingbird_core.training.nano.autoencoder import build_vae
from hummingbird_core.training.nano.text import build_text_encoder
from hummingbird_core.unet import HummingbirdUNet, UNetConfig
from hummingbird_core.video import read_metadata, read_video

PROMPT = "a red circle moves right"
SMALL = {"width": 16, "height": 16, "num_inference_steps": 2}


def without_positions(preset: str = "hummingbird-nano") -> HummingbirdPipeline:
    """Return a pipeline of random weights whose U-Net has no position code, as the large ones."""
    torch.manual_seed(0)
    config = replace(UNetConfig.from_preset(preset), frame_phase=False, loop_words=None)
    unet = HummingbirdUNet(config).eval()
    return HummingbirdPipeline(unet, build_vae().eval(), build_text_encoder().eval())


@pytest.fixture(scope="module")
def pipe() -> HummingbirdPipeline:
    return without_positions()


@pytest.fixture(scope="module")
def nano() -> HummingbirdPipeline:
    return HummingbirdPipeline.from_pretrained("nano", device="cpu")


# --- loops ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["hummingbird-nano", "nano-teacher"])
@pytest.mark.parametrize(("frames", "roll", "length"), [(6, 1, None), (12, 4, 8)])
def test_a_loop_can_begin_at_any_frame(preset, frames, roll, length):
    """Rolled noise gives the rolled video; with windows, a roll from one window to the next."""
    pipe = without_positions(preset)
    shape = (1, 4, frames, 4, 4)
    start, noise = initial_noise(shape, 0), next(step_noises(shape, 0))
    windows = pipe.context_windows(frames, length, loop=True)
    text = pipe.encode_prompt(PROMPT)

    def sample(n: int) -> torch.Tensor:
        rolled = {"latents": start.roll(n, dims=2), "noises": [noise.roll(n, dims=2)]}
        return pipe.sample(text, **rolled, windows=windows, num_inference_steps=2)

    torch.testing.assert_close(sample(roll), sample(0).roll(roll, dims=2), atol=1e-4, rtol=1e-4)


def test_the_keyframe_pass_of_a_loop_is_a_loop(nano):
    seen = []
    hook = nano.unet.register_forward_pre_hook(
        lambda _, args, named: seen.append((args[0].shape[2], named.get("loop", False))),
        with_kwargs=True,
    )
    windows = nano.context_windows(40, loop=True)
    shape = (1, 4, 40, 2, 2)
    nano.sample(
        nano.encode_prompt(PROMPT),
        latents=initial_noise(shape, 0),
        noises=step_noises(shape, 0),
        windows=windows,
    )
    hook.remove()
    assert seen == [(16, True)] * 3 + [(16, False)] * len(windows.clips(40))


def test_the_unet_of_a_plain_video_gets_no_new_input(pipe):
    """So that a seed gives the same video as before, bit by bit."""
    named = []
    hook = pipe.unet.register_forward_pre_hook(
        lambda _, args, kwargs: named.append((args[2].ndim, kwargs)), with_kwargs=True
    )
    plain = pipe(PROMPT, num_frames=4, **SMALL)
    hook.remove()
    assert named == [(3, {})] * 2
    assert torch.equal(plain.latents, pipe(PROMPT, num_frames=4, loop=False, **SMALL).latents)
    assert not torch.equal(plain.latents, pipe(PROMPT, num_frames=4, loop=True, **SMALL).latents)


def test_a_swing_goes_there_and_back_without_a_repeated_frame(pipe):
    swing = pipe(PROMPT, num_frames=8, loop="swing", **SMALL)
    there = pipe(PROMPT, num_frames=5, **SMALL)
    assert torch.equal(swing.latents, there.latents[:, :, [0, 1, 2, 3, 4, 3, 2, 1]])
    assert swing.frames.shape[1] == 8


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loop", "frames", "names"),
    [
        (True, 1, "loop with 1 frames"),
        (True, 2, "loop with 2 frames.*at least 3"),
        ("swing", 2, "loop with 2 frames"),
        ("swing", 9, "9 frames.*even.*10"),
        ("bounce", 8, "loop 'bounce'"),
    ],
)
def test_impossible_loops_are_refused(pipe, loop, frames, names):
    with pytest.raises(InputError, match=names):
        pipe(PROMPT, num_frames=frames, loop=loop, **SMALL)
    check_loop(True, 3)


def test_the_built_in_model_loops_only_motions_that_come_back(nano):
    with pytest.raises(InputError, match=r"'a red circle moves right'.*'swing'"):
        nano(PROMPT, loop=True)


@pytest.mark.parametrize("preset", ["hummingbird-nano", "nano-teacher"])
def test_the_built_in_models_know_the_words_of_their_captions(preset):
    words = UNetConfig.from_preset(preset).loop_words
    for phrase in (phrase for phrases in RETURNING.values() for phrase in phrases):
        check_can_loop(f"a cat {phrase}", words)
    for way in (way for ways in WAYS.values() for way in ways):
        for verb in GOING:
            with pytest.raises(InputError, match="comes back"):
                check_can_loop(f"a cat {verb} {way}", words)


def test_the_words_of_a_model_decide_which_prompts_loop():
    words = ("spins", "bobs")
    check_can_loop("a red circle Spins.", words)
    check_can_loop("0: a red circle spins; 8: a cat bobs", words)
    check_can_loop(PROMPT, None)
    for prompt in (PROMPT, "a red circle", "0: a red circle spins; 8: a cat falls"):
        with pytest.raises(InputError, match=r"comes back .spins, bobs."):
            check_can_loop(prompt, words)


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["webp", "gif", "mp4"])
def test_a_saved_loop_repeats_no_frame(tmp_path, capsys, suffix):
    out = tmp_path / f"circle.{suffix}"
    run(capsys, "generate", PROMPT, "-o", out, "--frames", 8, "--swing", "--steps", 1)
    frames = read_video(out).frames
    assert len(frames) == 8
    steps = np.abs(np.diff(frames.astype(float), axis=0)).mean(axis=(1, 2, 3))
    seam = np.abs(frames[0].astype(float) - frames[-1]).mean()
    assert steps.min() > 0.2 * steps.max()  # no frame twice, the turning point included
    assert 0.5 * steps.min() < seam < 1.5 * steps.max()
    assert read_metadata(out)["loop"] == "swing"
    if suffix != "mp4":
        from PIL import Image

        assert Image.open(out).info["loop"] == 0  # for ever


def test_a_video_without_loop_is_recorded_as_before(tmp_path, capsys):
    out = tmp_path / "circle.webp"
    run(capsys, "generate", PROMPT, "-o", out, "--frames", 4, "--steps", 1)
    assert "loop" not in read_metadata(out)
    _, kept, _ = run(capsys, "generate", PROMPT, "-o", out, "--frames", 4, "--steps", 1)
    assert "kept" in kept


def test_the_command_line_refuses_with_one_line(tmp_path, capsys):
    assert "--swing" in error_of(capsys, "generate", PROMPT, "-o", tmp_path / "a.webp", "--loop")
    line = error_of(capsys, "generate", PROMPT, "-o", tmp_path / "a.webp", "--loop", "--frames", 2)
    assert "2 frames" in line
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(f'{{"prompt": "{PROMPT}", "loop": "round"}}\n', encoding="utf-8")
    line = error_of(capsys, "generate", "--prompts", prompts, "-o", tmp_path / "videos")
    assert "prompts.jsonl line 1" in line
    assert "loop 'round'" in line
