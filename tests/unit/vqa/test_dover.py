"""DOVER: loading, views of awkward videos, seeds, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from hummingbird_core.errors import CheckpointError, InputError
from hummingbird_core.video import write_video
from hummingbird_core.vqa import DOVER, load_dover, score_file, score_video
from hummingbird_core.vqa.dover.convnext3d import ConvNeXtConfig
from hummingbird_core.vqa.dover.model import DOVERConfig, fuse
from hummingbird_core.vqa.dover.swin3d import Swin3D, SwinConfig, region_labels, window_and_shift
from hummingbird_core.vqa.dover.views import dover_views, fragment_corners


@pytest.fixture(scope="module")
def tiny() -> DOVER:
    """The real model with few channels: a whole video is scored in no time."""
    torch.manual_seed(0)
    network = ConvNeXtConfig(depths=(1, 1, 1, 1), widths=(4, 8, 8, 16), is_v2=True)
    return DOVER(DOVERConfig(network, network, features=16, hidden=4)).eval()


@pytest.fixture(scope="module")
def mobile() -> DOVER:
    torch.manual_seed(0)
    return DOVER.from_preset("dover-mobile").requires_grad_(False)


@pytest.fixture(scope="module")
def video() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 60, 80, 3), dtype=np.uint8)


def test_scores_have_one_value_for_each_video(mobile):
    x = torch.randn(2, 3, 4, 64, 64)
    scores = mobile({"technical": x, "aesthetic": x})
    assert {name: score.shape for name, score in scores.items()} == {
        "technical": (2,),
        "aesthetic": (2,),
    }
    alone = mobile({"aesthetic": x[1:]})
    assert torch.allclose(alone["aesthetic"], scores["aesthetic"][1:], atol=1e-5)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_come_back_from_a_file(tmp_path, mobile, suffix):
    path = tmp_path / f"weights{suffix}"
    save = torch.save if suffix == ".pth" else save_file
    save(mobile.state_dict(), path)
    loaded = load_dover(path).state_dict()
    assert loaded.keys() == mobile.state_dict().keys()
    assert all(torch.equal(loaded[key], value) for key, value in mobile.state_dict().items())


def test_a_file_that_does_not_fit_is_named(tmp_path, mobile):
    weights = mobile.state_dict()
    del weights["technical_head.fc_last.bias"]
    save_file(weights, tmp_path / "part.safetensors")
    with pytest.raises(CheckpointError, match=r"1 missing \(technical_head\.fc_last\.bias\)"):
        load_dover(tmp_path / "part.safetensors")


def test_learned_scores_are_there_with_weights(tiny, video):
    score = score_video(video, dover=tiny)
    assert all(0 <= s <= 100 for s in (score.technical, score.aesthetic, score.overall))
    assert score_video(video, dover=tiny) == score  # seeded


def test_a_file_scores_as_its_frames_do(tmp_path, tiny, video):
    folder = write_video(tmp_path / "clip.png", video, 8)
    assert score_file(folder, dover=tiny) == score_video(video, 8, dover=tiny)


def test_the_seed_of_a_file_decides_its_fragments(tmp_path, tiny):
    frames = np.random.default_rng(0).integers(0, 256, (3, 300, 400, 3), dtype=np.uint8)
    folder = write_video(tmp_path / "clip.png", frames, 8)
    one, again, two = (score_file(folder, dover=tiny, seed=seed).technical for seed in (1, 1, 2))
    assert one == again != two


def test_floats_score_as_the_same_pixels_do(tiny, video):
    assert score_video(video / 255.0, dover=tiny).overall == pytest.approx(
        score_video(video, dover=tiny).overall
    )


def test_seeds_decide_the_fragments():
    frames = np.random.default_rng(0).integers(0, 256, (3, 300, 400, 3), dtype=np.uint8)

    def technical(seed):
        return dover_views(frames, 3, seed)["technical"]

    assert torch.equal(technical(1), technical(1))
    assert not torch.equal(technical(1), technical(2))
    torch.manual_seed(0)
    first = technical(None)
    assert not torch.equal(first, technical(None))  # the original's: others each time
    torch.manual_seed(0)
    assert torch.equal(technical(None), first)


def test_a_seed_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    dover_views(np.zeros((1, 300, 400, 3), np.uint8), 1, 5)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("size", [(224, 224), (320, 512), (1080, 1920)])
def test_fragments_stay_in_their_cells(size):
    corners = fragment_corners(*size, torch.Generator().manual_seed(0))  # [clips, 2, 7, 7]
    for axis, length in enumerate(size):
        cell = length // 7
        places = corners[:, axis].movedim(axis + 1, 0).flatten(1)  # [7, others]
        starts = torch.arange(7)[:, None] * cell
        assert (places >= starts).all()
        assert (places + 32 <= starts + max(cell, 32)).all()


@pytest.mark.parametrize("shape", [(1, 16, 16), (2, 8, 300), (40, 100, 30)])
def test_views_of_any_length_and_size(shape):
    views = dover_views(np.full((*shape, 3), 128, np.uint8), shape[0])
    assert views["technical"].shape == (3, 3, 32, 224, 224)
    assert views["aesthetic"].shape == (1, 3, 32, 224, 224)
    assert all(view.isfinite().all() for view in views.values())


def test_a_video_that_ends_early_is_refused():
    with pytest.raises(InputError, match="got 2 frames, expected 3"):
        dover_views(np.zeros((2, 32, 32, 3), np.uint8), 3)


def test_scores_grow_with_raw_scores_and_stay_in_range():
    low, high = fuse(-100.0, -100.0), fuse(100.0, 100.0)
    assert low < fuse(0.1, -0.1) < high
    assert low.overall == pytest.approx(0)
    assert high.overall == pytest.approx(100)


def test_windows_are_no_larger_than_the_video():
    assert window_and_shift((16, 56, 56), True) == ((8, 7, 7), (4, 3, 3))
    assert window_and_shift((8, 7, 3), True) == ((8, 7, 3), (0, 0, 0))
    assert window_and_shift((16, 56, 56), False)[1] == (0, 0, 0)


def test_regions_part_what_a_shift_brings_together():
    labels = region_labels((8, 14, 14), (8, 7, 7), (0, 3, 3))
    assert len(labels[:, :7, :7].unique()) == 1  # the first window has true neighbours only
    assert len(labels[0, 7:, 7:].unique()) == 4  # the last one: four corners of the video


def test_swin_gradients_reach_every_weight():
    swin = Swin3D(SwinConfig(width=8, depths=(2, 2), heads=(1, 2), gated_stages=(0,)))
    swin(torch.randn(1, 3, 20, 64, 64)).square().mean().backward()
    missing = [name for name, p in swin.named_parameters() if p.grad is None]
    assert missing == []


def test_bad_names_are_refused(tiny):
    with pytest.raises(InputError, match="dover-mobile"):
        DOVER.from_preset("dover-tiny")
    with pytest.raises(InputError, match="technical"):
        tiny({"beauty": torch.zeros(1, 3, 2, 32, 32)})
