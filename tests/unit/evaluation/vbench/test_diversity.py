"""Distances between the seeds of a prompt, in exported videos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.command_line import run

from hummingbird_core.errors import CheckpointError, InputError
from hummingbird_core.evaluation.vbench.diversity import (
    FRAMES,
    ImageEncoder,
    reduced_pixels,
    seed_spread,
    video_features,
)
from hummingbird_core.video import write_video

CAT, DOG = "a cat", "a dog - in the sun"


def write(folder: Path, name: str, level: int, frames: int = 12) -> Path:
    """Write a video of one gray."""
    path = folder / "videos" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, np.full((frames, 40, 64, 3), level, dtype=np.uint8), 8)
    return path


@pytest.fixture(scope="module")
def ours(tmp_path_factory) -> Path:
    """Two prompts of two seeds, 10 and 30 levels apart, and one of a single seed."""
    folder = tmp_path_factory.mktemp("ours")
    for name, level in ((CAT, 100), (DOG, 50)):
        write(folder, f"{name}-0.mp4", level)
        write(folder, f"{name}-1.mp4", level + (10 if name == CAT else 30))
    write(folder, "alone-0.mp4", 0)
    return folder


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    for index, level in enumerate((0, 40)):
        write(folder, f"{CAT}-{index}.mp4", level)
    return folder


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory) -> Path:
    """A DINOv2 of random weights, saved as transformers saves one."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("dinov2")
    config = transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.Dinov2Model(config).save_pretrained(folder)
    size = {"height": 28, "width": 28}
    transformers.BitImageProcessor(size=size, crop_size=size).save_pretrained(folder)
    return folder


def test_seeds_are_compared_within_their_prompt(ours):
    found = seed_spread(ours / "videos", reduced_pixels)
    assert found.distances == {  # the codec moves grays by a level
        CAT: pytest.approx(10, abs=1.5),
        DOG: pytest.approx(30, abs=1.5),
    }
    assert found.videos == 4
    assert found.mean == pytest.approx(20, abs=1.5)


def test_the_share_is_of_the_prompts_of_both(ours, teacher):
    spreads = [seed_spread(folder / "videos", reduced_pixels) for folder in (ours, teacher)]
    assert spreads[0].against(spreads[1]) == pytest.approx(10 / 40, abs=0.05)


def test_folders_of_other_prompts_cannot_be_compared(ours, tmp_path):
    for index in range(2):
        write(tmp_path, f"a bird-{index}.mp4", index)
    others = seed_spread(tmp_path / "videos", reduced_pixels)
    with pytest.raises(InputError, match="no prompt that both"):
        seed_spread(ours / "videos", reduced_pixels).against(others)


def test_single_videos_are_no_seeds_to_compare(tmp_path):
    write(tmp_path, f"{CAT}-0.mp4", 0)
    with pytest.raises(InputError, match="without two videos of one prompt"):
        seed_spread(tmp_path / "videos", reduced_pixels)


@pytest.mark.parametrize("frames", [1, 3, 30])
def test_features_have_one_size_for_any_length(tmp_path, frames):
    path = write(tmp_path, "v-0.mp4", 9, frames)
    assert video_features(path, reduced_pixels).shape == (FRAMES * 3 * 20 * 32,)


def test_an_encoder_gives_unit_vectors(dinov2):
    vectors = ImageEncoder.load(str(dinov2))(torch.rand(3, 3, 40, 64))
    assert vectors.shape == (3, 16)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))


def test_a_model_that_takes_texts_is_refused(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.CLIPConfig(
        text_config={"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1},
        vision_config={"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1},
    )
    transformers.CLIPModel(config).save_pretrained(tmp_path)
    transformers.CLIPImageProcessor().save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="takes images alone, such as DINOv2"):
        ImageEncoder.load(str(tmp_path))


def test_the_command_prints_distance_and_share(capsys, ours, teacher, dinov2):
    options = ("--against", teacher, "--encoder", dinov2)
    code, out, _ = run(capsys, "evaluate", "vbench", "diversity", ours, *options)
    assert code == 0
    first, second = out.splitlines()
    assert first.startswith("distance between seeds: ")
    assert first.endswith("(4 videos of 2 prompts)")
    assert second.startswith(f"against {teacher}: ")


def test_a_loss_of_diversity_is_warned_about(capsys, caplog, ours, teacher):
    code, out, _ = run(capsys, "evaluate", "vbench", "diversity", ours, "--against", teacher)
    assert code == 0
    assert "against" in out
    assert any("two seeds of a prompt differ by 2" in line for line in caplog.messages)


def test_too_few_real_videos_are_one_line(capsys, ours, teacher):
    code, _, error = run(
        capsys, "evaluate", "vbench", "diversity", ours, "--real", teacher / "videos"
    )
    assert code == 2
    assert "got 2 real videos, expected more than k = 5" in error
