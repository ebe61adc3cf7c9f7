"""The model of agreement: both towers, its file, its loss, its reward."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import islice

import pytest
import torch
from support.command_line import run
from torch.nn import functional as F

from hummingbird_core.agreement.model import (
    CONFIG_KEY,
    TEXT_CONFIG_KEY,
    AgreementConfig,
    AgreementModel,
    load_agreement,
    motion_features,
    save_agreement,
)
from hummingbird_core.errors import CheckpointError
from hummingbird_core.nano.world.captions import Mention, Said, altered
from hummingbird_core.nano.world.stream import samples
from hummingbird_core.training.loop.config import SMALL_MODEL
from hummingbird_core.training.nano.agreement import (
    contrastive_loss,
    preference,
    train_agreement,
)
from hummingbird_core.training.nano.text import build_text_encoder
from hummingbird_core.training.rewards.loading import load_reward
from hummingbird_core.weights.tensor_files import open_tensors

TINY = AgreementConfig(frames=4, width=16, layers=1, heads=2, dim=8)
CAPTIONS = ["a red circle moves right", "a cat bobs at night"]


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AgreementModel(TINY, build_text_encoder()).eval()


def clips(count: int, frames: int = 8, size: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, 3, frames, size, size, generator=generator) * 2 - 1


@torch.no_grad()
def test_both_towers_give_unit_vectors(model):
    video, text = model.embed_video(clips(2)), model.embed_text(CAPTIONS)
    assert video.shape == text.shape == (2, TINY.dim)
    for vectors in (video, text):
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(model(clips(2), CAPTIONS), (video * text).sum(dim=1))


@torch.no_grad()
@pytest.mark.parametrize(("frames", "size"), [(1, 64), (3, 64), (26, 64), (8, 96), (8, 32)])
def test_any_length_and_size_is_taken(model, frames, size):
    assert model(clips(2, frames, size), CAPTIONS).isfinite().all()


@torch.no_grad()
def test_the_order_of_frames_counts(model):
    forwards = clips(1)
    assert not torch.allclose(model.embed_video(forwards), model.embed_video(forwards.flip(2)))


@pytest.mark.parametrize(
    ("way", "axis", "sign"), [("right", 0, 1), ("left", 0, -1), ("down", 1, 1)]
)
def test_the_flow_has_the_direction_of_a_motion(way, axis, sign):
    scenes = samples(3)
    moving = (scene for scene, said, _ in scenes if _only_moves(scene, said, way))
    frames = next(moving).render()[None] * 2 - 1
    flow = motion_features(frames)[0, axis, :-1]  # [T - 1, H/4, W/4]
    assert sign * flow[flow.abs() > 0.1].mean() > 0.1
    assert not motion_features(frames)[:, :, -1].any()  # after the last frame nothing moves


def _only_moves(scene, said, way) -> bool:
    return len(scene.subjects) == 1 and said.mentions[0].motion == way and not scene.camera.move


def test_the_text_encoder_stays_as_it_is(model, tmp_path):
    before = {name: value.clone() for name, value in model.text.state_dict().items()}
    settings = replace(SMALL_MODEL, steps=1, batch=2)
    trained = train_agreement(settings, tmp_path, model.text, TINY)
    assert all(torch.equal(before[name], v) for name, v in trained.text.state_dict().items())


def test_the_first_and_the_last_frame_are_seen(model):
    assert model.chosen_frames(16).tolist() == [0, 5, 10, 15]
    assert model.chosen_frames(2).tolist() == [0, 0, 1, 1]


@torch.no_grad()
def test_a_file_gives_the_model_back(model, tmp_path):
    file = tmp_path / "agreement.safetensors"
    save_agreement(file, model)
    again = load_agreement(file)
    assert again.config == TINY
    torch.testing.assert_close(
        again(clips(2), CAPTIONS), model(clips(2), CAPTIONS), atol=5e-3, rtol=0
    )


def test_other_files_are_refused(tmp_path):
    from safetensors.torch import save_file

    file = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(2)}, file)
    with pytest.raises(CheckpointError, match="no model of agreement"):
        load_agreement(file)


@pytest.mark.parametrize(
    ("key", "sizes"),
    [
        (CONFIG_KEY, '{"width": 1000000}'),
        (CONFIG_KEY, '{"width": 100, "heads": 3}'),
        (CONFIG_KEY, '{"depth": 2}'),
        (TEXT_CONFIG_KEY, '{"vocab_size": 1000000000}'),
        (TEXT_CONFIG_KEY, "[1]"),
        (TEXT_CONFIG_KEY, "{"),
    ],
)
def test_sizes_that_no_model_has_are_refused_before_they_are_built(model, tmp_path, key, sizes):
    from safetensors.torch import load_file, save_file

    file = tmp_path / "agreement.safetensors"
    save_agreement(file, model)
    metadata = {**open_tensors(file).metadata, key: sizes}
    save_file(load_file(file), file, metadata)
    with pytest.raises(CheckpointError, match=r"wrong config in agreement\.safetensors"):
        load_agreement(file)


def test_the_loss_is_clips_with_more_columns():
    generator = torch.Generator().manual_seed(1)
    video, text = (F.normalize(torch.randn(3, 5, generator=generator), dim=-1) for _ in range(2))
    negatives = F.normalize(torch.randn(3, 2, 5, generator=generator), dim=-1)
    scale = torch.tensor(7.0)
    rows = [
        -torch.log_softmax(scale * torch.cat([text @ v, n @ v]), dim=0)[i]
        for i, (v, n) in enumerate(zip(video, negatives, strict=True))
    ]
    columns = [-torch.log_softmax(scale * video @ u, dim=0)[i] for i, u in enumerate(text)]
    expected = (torch.stack(rows).mean() + torch.stack(columns).mean()) / 2
    torch.testing.assert_close(contrastive_loss(video, text, negatives, scale), expected)


def test_an_altered_caption_differs_in_one_statement():
    for _, said, _ in islice(samples(9), 200):
        other = altered(said, random.Random(str(said)))
        before, after = set(said.attributes()), set(other.attributes())
        assert before != after
        changed = {(kind, index) for kind, index, _ in before ^ after}
        swapped = changed == {("motion", 0), ("motion", 1)}
        assert len(changed) == 1 or swapped


def test_a_shape_stays_a_shape():
    said = Said((Mention("circle"),))
    others = {altered(said, random.Random(seed)).mentions[0].subject for seed in range(20)}
    assert others == {"square", "triangle"}


def test_the_packaged_model_knows_captions_of_the_world():
    assert preference(load_agreement("nano-agreement"), 100, seed=2028) >= 0.8


def test_the_packaged_model_is_the_reward_without_weights():
    frames = clips(2)
    expected = load_agreement("nano-agreement")(frames, CAPTIONS)
    torch.testing.assert_close(load_reward("agreement")(frames, CAPTIONS, None), expected)


def test_the_reward_has_a_gradient(model, tmp_path):
    file = tmp_path / "agreement.safetensors"
    save_agreement(file, model)
    reward = load_reward("agreement", file)
    generator = torch.Generator()
    frames = clips(2)[:, :, reward.frames_needed(8, generator)].requires_grad_()
    reward(frames, CAPTIONS, generator).sum().backward()
    assert frames.grad.abs().sum() > 0


def test_the_command_trains_and_says_how_well(capsys, tmp_path, monkeypatch):
    from hummingbird_core.cli.train import agreement as command

    monkeypatch.setattr(command, "HELD_OUT_CLIPS", 2)
    file = tmp_path / "agreement.safetensors"
    options = ("--steps", 2, "--batch", 2, "--folder", tmp_path / "run", "-o", file)
    code, out, _ = run(capsys, "train", "agreement", *options)
    assert code == 0
    assert "of 2 held-out clips" in out
    assert 0 <= preference(load_agreement(file), 4, 0) <= 1
