"""Start images: kept frames, what the U-Net sees of them, forms of input, refusals, files."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from support.command_line import error_of, run

from hummingbird_core.errors import InputError
from hummingbird_core.pipeline import HummingbirdPipeline
from hummingbird_core.pipeline.start_image import start_video
from hummingbird_core.sampling import add_noise, initial_noise, scale_latents, step_noises
from hummingbird_core.sampling.start_frames import (
    FRAME_INIT_TIMESTEP,
    frame_init,
    keep_start,
    with_start,
)
from hummingbird_core.training.nano.autoencoder import build_vae
from hummingbird_core.training.nano.text import build_text_encoder
from hummingbird_core.unet import HummingbirdUNet, UNetConfig
from hummingbird_core.video import read_metadata, read_video, write_video
from hummingbird_core.video.last_frames import read_last_frames

PROMPT = "a red circle moves right"
SMALL = {"width": 16, "height": 16, "num_inference_steps": 2}
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)


def random_pipeline(preset: str = "hummingbird-nano") -> HummingbirdPipeline:
    torch.manual_seed(0)
    unet = HummingbirdUNet(UNetConfig.from_preset(preset)).eval()
    return HummingbirdPipeline(unet, build_vae().eval(), build_text_encoder().eval())


@pytest.fixture(scope="module")
def pipe() -> HummingbirdPipeline:
    return random_pipeline()


# --- the kept frames -----------------------------------------------------------------------------


@pytest.mark.parametrize("rescale", [False, True])
def test_the_unet_sees_the_kept_frames_with_the_noise_of_each_timestep(rescale):
    start, noise = torch.randn(1, 4, 2, 3, 3), torch.randn(2, 4, 6, 3, 3)
    seen = []
    predict = keep_start(lambda x, t: seen.append(x) or x, start, noise, rescale=rescale)
    sample = torch.randn(2, 4, 6, 3, 3)
    for t in (999, 279):
        predict(sample, t)
        clean = scale_latents(start, t) if rescale else start
        for video in range(2):
            expected = add_noise(clean[0], noise[video, :, :2], t)
            torch.testing.assert_close(seen[-1][video, :, :2], expected)
        assert torch.equal(seen[-1][:, :, 2:], sample[:, :, 2:])
    assert torch.equal(with_start(sample, start)[1, :, :2], start[0])


def test_the_starting_noise_rests_at_the_last_kept_frame():
    start, noise = torch.randn(1, 4, 2, 3, 3), torch.randn(2, 4, 6, 3, 3)
    first = frame_init(noise, start)
    assert torch.equal(first[:, :, :2], noise[:, :, :2])
    for video in range(2):
        for frame in range(2, 6):
            expected = add_noise(start[0, :, 1], noise[video, :, frame], FRAME_INIT_TIMESTEP)
            torch.testing.assert_close(first[video, :, frame], expected)


@pytest.mark.parametrize("preset", ["hummingbird-nano", "nano-teacher"])
@pytest.mark.parametrize(("frames", "length"), [(6, None), (12, 4)])
def test_the_start_is_kept_and_changes_the_other_frames(preset, frames, length):
    """Student and teacher, in one piece and in windows, every video of a batch."""
    pipe = random_pipeline(preset)
    settings = {"num_frames": frames, "context_length": length, **SMALL}
    prompts = [PROMPT, "a blue square falls"]
    kept = pipe(prompts, start_image=PIXELS[:2], **settings).latents
    plain = pipe(prompts, **settings).latents
    start = pipe.encode_video(start_video(PIXELS[:2], frames, 16, 16))
    for video in kept:
        torch.testing.assert_close(video[None, :, :2], start, atol=0, rtol=0)
    assert not torch.allclose(kept[:, :, 2:4], plain[:, :, 2:4], atol=1e-4)


def test_without_a_start_image_nothing_changes(pipe):
    """Bit by bit: the U-Net gets the inputs of `sample` alone."""
    plain = pipe(PROMPT, num_frames=4, seed=3, **SMALL)
    shape = (1, 4, 4, 2, 2)
    noises = {"latents": initial_noise(shape, 3), "noises": step_noises(shape, 3)}
    alone = pipe.sample(pipe.encode_prompt(PROMPT), **noises, num_inference_steps=2)
    assert torch.equal(plain.latents, alone)
    assert torch.equal(
        plain.latents, pipe(PROMPT, num_frames=4, seed=3, start_image=None, **SMALL).latents
    )


def test_a_swing_starts_with_it_and_comes_back(pipe):
    swing = pipe(PROMPT, num_frames=8, loop="swing", start_image=PIXELS[0], **SMALL).latents
    start = pipe.encode_video(start_video(PIXELS[0], 8, 16, 16))
    assert torch.equal(swing[:, :, :1], start)
    assert torch.equal(swing[:, :, 1:4], swing[:, :, 5:].flip(2))


def test_the_built_in_model_goes_on_from_a_frame():
    """The circle of the second frame is where that of the given one is, and moves on."""
    pipe = HummingbirdPipeline.from_pretrained("nano", device="cpu")
    y, x = np.mgrid[:64, :64]
    frame = np.full((64, 64, 3), 40, np.uint8)
    frame[np.hypot(x - 20, y - 40) < 12] = (230, 30, 30)

    def center(frames: np.ndarray) -> np.ndarray:
        red = (frames[..., 0].astype(float) - frames[..., 1] - 60).clip(min=0)
        return np.array([(red * grid).sum() for grid in (x, y)]) / red.sum()

    kept = pipe(PROMPT, start_image=frame, num_inference_steps=8, seed=1).frames[0]
    assert np.abs(center(kept[0]) - (20, 40)).max() < 1.5
    assert np.abs(center(kept[1]) - center(kept[0])).max() < 6


# --- forms of input ------------------------------------------------------------------------------


def test_all_forms_of_an_image_are_one():
    expected = start_video(PIXELS[:2], 4, 16, 16)
    assert expected.shape == (1, 3, 2, 16, 16)
    assert expected.min() >= -1
    assert expected.max() <= 1
    floats = PIXELS[:2].astype(np.float32) / 255
    for form in (
        [Image.fromarray(frame) for frame in PIXELS[:2]],
        floats,
        torch.from_numpy(floats).permute(0, 3, 1, 2),
    ):
        torch.testing.assert_close(start_video(form, 4, 16, 16), expected)
    for one in (Image.fromarray(PIXELS[0]), PIXELS[0], torch.from_numpy(floats[0]).movedim(-1, 0)):
        torch.testing.assert_close(start_video(one, 4, 16, 16), expected[:, :, :1])


def test_another_size_is_scaled_and_cropped_with_a_line(caplog):
    wide = np.zeros((32, 96, 3), np.uint8)
    wide[:, 32:64] = 255  # the middle third is what a square shows of it
    video = start_video(wide, 4, 16, 16)
    assert video.shape == (1, 3, 1, 16, 16)
    assert video[..., 2:-2].min() > 0.99
    assert "96x32" in caplog.text
    assert "16x16" in caplog.text


@pytest.mark.parametrize(
    ("image", "names"),
    [
        ("fox.png", "type str"),
        ([PIXELS[0], PIXELS[1]], "type ndarray"),
        ([], "expected an image"),
        (PIXELS[0, :, :, :2], r"shape \[1, 2, 16, 16\]"),
        (PIXELS[0, :, :, 0], r"shape \[16, 16\]"),
        (PIXELS.astype(np.float32), "values from 0 to 255"),
        (np.full((16, 16, 3), np.nan, np.float32), "values from nan"),
        (torch.zeros(3, 16, 16, dtype=torch.uint8), "type torch.uint8"),
        (np.concatenate([PIXELS, PIXELS])[:4], "of 4 frames for a video of 4"),
        ([Image.new("RGB", (16, 16)), Image.new("RGB", (8, 16))], "different sizes"),
    ],
)
def test_what_is_no_start_image_is_refused(pipe, image, names):
    with pytest.raises(InputError, match=f"start image.*{names}"):
        pipe(PROMPT, num_frames=4, start_image=image, **SMALL)


def test_a_tiny_decoder_cannot_encode_it(pipe):
    from hummingbird_core.vae.tiny import built_in_decoder, load_fast_decoder

    tiny = HummingbirdPipeline(pipe.unet, load_fast_decoder(built_in_decoder()), pipe.text_encoder)
    with pytest.raises(InputError, match="tiny decoder"):
        tiny(PROMPT, num_frames=4, start_image=PIXELS[0], **SMALL)


# --- files ---------------------------------------------------------------------------------------


def test_the_last_frames_of_files(tmp_path):
    Image.fromarray(PIXELS[0]).save(tmp_path / "one.png")
    write_video(tmp_path / "clip.webp", PIXELS, 8, {})
    write_video(tmp_path / "frames.png", PIXELS, 8, {})
    assert np.array_equal(read_last_frames(tmp_path / "one.png", 1), PIXELS[:1])
    clip = read_video(tmp_path / "clip.webp").frames
    assert np.array_equal(read_last_frames(tmp_path / "clip.webp", 2), clip[1:])
    folder = next(path for path in tmp_path.iterdir() if path.is_dir())
    assert np.array_equal(read_last_frames(folder, 2), PIXELS[1:])
    turned = Image.fromarray(PIXELS[0])
    exif = turned.getexif()
    exif[0x0112] = 6  # turned by a quarter
    turned.save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(read_last_frames(tmp_path / "turned.png", 1)[0], np.rot90(PIXELS[0], -1))


def test_generate_goes_on_with_a_video(tmp_path, capsys):
    common = ("--steps", 1, "--frames", 4, "--width", 64, "--height", 64)
    first, more = tmp_path / "first.webp", tmp_path / "more.webp"
    run(capsys, "generate", PROMPT, "-o", first, *common)
    start = ("--start-image", first, "--start-frames", 2)
    run(capsys, "generate", PROMPT, "-o", more, *common, *start)
    record = read_metadata(more)
    assert (record["start_image"], record["start_frames"]) == ("first.webp", 2)
    before, after = read_video(first).frames[2:], read_video(more).frames[:2]
    assert np.abs(before.astype(float) - after).mean() < 4  # encoded and decoded once more
    assert "start_image" not in read_metadata(first)
    _, kept, _ = run(capsys, "generate", PROMPT, "-o", more, *common, *start)
    assert "kept" in kept
    other = ("--start-image", first, "--start-frames", 1)
    assert "other settings" in error_of(capsys, "generate", PROMPT, "-o", more, *common, *other)


def test_the_command_line_refuses_with_one_line(tmp_path, capsys):
    out = ("generate", PROMPT, "-o", tmp_path / "a.webp", "--frames", 4)
    image, text = tmp_path / "one.png", tmp_path / "no.png"
    Image.fromarray(PIXELS[0]).save(image)
    text.write_text("no picture", encoding="utf-8")
    for options, names in (
        (("--start-image", tmp_path / "gone.png"), "gone.png is not there"),
        (("--start-image", text), "no.png cannot be read"),
        (("--start-image", image, "--start-frames", 2), "one.png has 1 frames, expected 2"),
        (("--start-image", image, "--start-frames", 0), "got 0 frames"),
        (("--start-frames", 2), "without --start-image"),
        (("--start-image", image, "--decoder", "tiny"), "tiny decoder"),
        (("--start-image", image, "--runtime", "onnx"), "--start-image with --runtime"),
    ):
        assert names in error_of(capsys, *out, *options)
    assert not (tmp_path / "a.webp").exists()
