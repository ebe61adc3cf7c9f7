"""Prompts over time in the pipeline and on the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from support.command_line import error_of, run

from hummingbird_core.errors import InputError
from hummingbird_core.nano.readers.scene import read_scene
from hummingbird_core.nano.readers.shapes import read_shape_scene
from hummingbird_core.nano.world.paths import NANO_FPS
from hummingbird_core.pipeline import HummingbirdPipeline
from hummingbird_core.pipeline.prompts import encode_prompts
from hummingbird_core.sampling import initial_noise, step_noises
from hummingbird_core.training.nano.autoencoder import build_vae
from hummingbird_core.training.nano.text import build_text_encoder
from hummingbird_core.unet import HummingbirdUNet, UNetConfig
from hummingbird_core.video import read_metadata

STORY = "0: a red circle moves right; 16: a blue square moves up; 32: a green triangle moves left"
ACTS = [("red", "circle"), ("blue", "square"), ("green", "triangle")]
SMALL = {"width": 16, "height": 16, "num_inference_steps": 2}


def random_pipeline(preset: str) -> HummingbirdPipeline:
    torch.manual_seed(0)
    unet = HummingbirdUNet(UNetConfig.from_preset(preset)).eval()
    return HummingbirdPipeline(unet, build_vae().eval(), build_text_encoder().eval())


@pytest.fixture(scope="module")
def nano() -> HummingbirdPipeline:
    return HummingbirdPipeline.from_pretrained("nano", device="cpu")


def test_each_part_of_a_story_shows_its_own_picture(nano):
    frames = nano(STORY, num_frames=48, seed=1).frames[0]
    for i, act in enumerate(ACTS):
        (seen,) = read_scene(frames[16 * i + 2 : 16 * i + 14], NANO_FPS).subjects
        assert (seen.look.color, seen.look.name) == act
    for i in (1, 2):  # borders within four frames
        before, after = frames[16 * i - 4], frames[16 * i + 3]
        assert read_shape_scene(np.stack([before] * 2)).colour == ACTS[i - 1][0]
        assert read_shape_scene(np.stack([after] * 2)).colour == ACTS[i][0]


@pytest.mark.parametrize("preset", ["hummingbird-nano", "nano-teacher"])
@pytest.mark.parametrize("length", [None, 4])
def test_the_same_text_in_every_part_is_the_plain_prompt(preset, length):
    """Student and guided teacher, in one piece and in windows."""
    pipe = random_pipeline(preset)
    plain = pipe("a red circle", num_frames=8, context_length=length, **SMALL)
    text = pipe.encode_prompt("a red circle")
    shape = (1, 4, 8, 2, 2)
    latents = pipe.sample(
        text[:, None].expand(-1, 2, -1, -1),
        text_weights=torch.tensor([0.25, 0.75]).expand(1, 8, 2),
        latents=initial_noise(shape, 0),
        noises=step_noises(shape, 0),
        num_inference_steps=2,
        windows=pipe.context_windows(8, length),
    )
    torch.testing.assert_close(latents, plain.latents, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("preset", ["hummingbird-nano", "nano-teacher"])
def test_texts_may_be_given_for_each_frame(preset):
    pipe = random_pipeline(preset)
    prompt, shape = "0: a red circle; 3: a blue square", (1, 4, 9, 2, 2)
    encoded = encode_prompts(pipe.text_encoder, [prompt], 9, 8)
    noise = {"latents": initial_noise(shape, 0), "num_inference_steps": 2}
    windows = pipe.context_windows(9, 4)

    def sample(*text: torch.Tensor) -> torch.Tensor:
        embeddings, *weights = text
        given = {"text_weights": weights[0]} if weights else {}
        return pipe.sample(
            embeddings, **given, **noise, noises=step_noises(shape, 0), windows=windows
        )

    by_weights = sample(encoded.embeddings, encoded.weights)
    each = pipe.encode_prompt(prompt, num_frames=9)
    assert each.shape == (1, 9, 77, pipe.unet.config.context_dim)
    torch.testing.assert_close(sample(each), by_weights, atol=1e-4, rtol=1e-4)


def test_videos_of_a_batch_have_stories_of_their_own():
    pipe = random_pipeline("hummingbird-nano")
    prompts = ["0: a red circle; 3: a blue square", "a green triangle"]
    both = pipe(prompts, num_frames=6, seed=5, **SMALL)
    single = [pipe(p, num_frames=6, seed=5 + i, **SMALL) for i, p in enumerate(prompts)]
    expected = torch.cat([video.latents for video in single])
    torch.testing.assert_close(both.latents, expected, atol=1e-4, rtol=1e-4)
    assert both.prompts == prompts
    assert both.text.token_counts == [3, 3]


def test_words_without_effect_are_named_once_a_video():
    pipe = random_pipeline("hummingbird-nano")
    story = "0: a red zeppelin; 3: a zeppelin; 5: a quokka"
    report = pipe([story, "a red circle"], num_frames=6, **SMALL).text
    assert report.unknown == [["zeppelin", "quokka"], []]
    assert len(report.dropped) == len(report.token_counts) == 2


def test_stories_that_cannot_be_told_are_refused(nano):
    for prompt, names in [
        ("0: a red circle; 16: a blue square", "16: .* 16 frames"),
        ("0: a red circle; 8: a; 4: b", "4: behind 8:"),
        ("0: a red circle;; 8: b", "empty part"),
    ]:
        with pytest.raises(InputError, match=names):
            nano(["a blue square", prompt], num_frames=16)
    with pytest.raises(InputError, match=r"prompt over time.*'swing'"):
        nano("0: a red circle; 4: a blue square", loop="swing")
    with pytest.raises(InputError, match="give num_frames"):
        nano.encode_prompt("0: a red circle; 4: a blue square")


def test_a_prompt_file_tells_stories(tmp_path, capsys):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("0: a red circle; 0.5s: a blue square\na green triangle\n", encoding="utf-8")
    folder = tmp_path / "videos"
    options = ("--frames", 8, "--steps", 1, "--format", "webp")
    run(capsys, "generate", "--prompts", prompts, "-o", folder, *options)
    first, second = sorted(folder.glob("*.webp"))
    assert read_metadata(first)["prompt"] == "0: a red circle; 0.5s: a blue square"
    assert read_metadata(second)["prompt"] == "a green triangle"


def test_an_error_in_a_prompt_file_names_its_line(tmp_path, capsys):
    prompts = tmp_path / "prompts.jsonl"
    lines = [{"prompt": "a red circle"}, {"prompt": "0: a red circle; 9: b", "num_frames": 8}]
    prompts.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    line = error_of(capsys, "generate", "--prompts", prompts, "-o", tmp_path / "videos")
    assert "prompts.jsonl line 2: got a part at 9:" in line
