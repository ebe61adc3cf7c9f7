"""Training of the built-in model's text encoder: what it has to state, and that it learns to."""

from __future__ import annotations

from itertools import islice
from statistics import fmean

import pytest
import torch

from hummingbird_core.nano.world.captions import Mention, Said
from hummingbird_core.nano.world.stream import HELD_OUT, samples
from hummingbird_core.training.loop.config import TrainConfig
from hummingbird_core.training.loop.progress import read_losses
from hummingbird_core.training.nano.text import (
    CONTEXT_DIM,
    STATEMENTS,
    CaptionReader,
    build_text_encoder,
    statements,
    train_text_encoder,
)
from hummingbird_core.unet import UNetConfig


def stated(said: Said) -> dict[str, str]:
    """Statements that are not empty."""
    return {name: value for name, value in statements(said).items() if value}


def test_statements_name_all_that_a_caption_says():
    square = Mention("square", "blue", "small", "left", "slowly")
    said = Said((square, Mention("cat", motion="bob")), "sea", None, "zoom in")
    assert stated(said) == {
        "subject_0": "square",
        "color_0": "blue",
        "size_0": "small",
        "motion_0": "left",
        "pace_0": "slowly",
        "subject_1": "cat",
        "motion_1": "bob",
        "place": "sea",
        "camera": "zoom in",
    }
    assert stated(Said((Mention("circle"),), tone="dark")) == {
        "subject_0": "circle",
        "tone": "dark",
    }
    assert list(statements(said)) == list(STATEMENTS)


@pytest.mark.parametrize(
    ("subject", "motion", "side"),
    [
        ("rocket", "right", "right"),
        ("rocket", "left", "left"),
        ("rocket", "up", "right"),
        ("car", "right", "right"),
        ("car", "spin", "left"),
        ("cat", "left", ""),
        ("rocket", None, ""),
    ],
)
def test_where_a_picture_faces_is_a_statement(subject, motion, side):
    assert statements(Said((Mention(subject, motion=motion),)))["faces_0"] == side


def test_every_statement_has_a_label():
    for _, said, _ in islice(samples(1), 300):
        for name, value in statements(said).items():
            assert value in STATEMENTS[name]


def test_the_vocabulary_covers_all_captions():
    encoder = build_text_encoder()
    for held_out in (None, *HELD_OUT):
        captions = [text for *_, text in islice(samples(2, held_out=held_out), 100)]
        assert not any(encoder.encode(captions, warn=False).unknown)


@pytest.mark.parametrize("preset", ["hummingbird-nano", "nano-teacher"])
def test_the_u_nets_take_the_width_of_the_text(preset):
    assert build_text_encoder().config.width == CONTEXT_DIM
    assert UNetConfig.from_preset(preset).context_dim == CONTEXT_DIM


def test_a_reader_gives_a_value_for_each_statement():
    reader = CaptionReader(build_text_encoder().eval())
    captions = ["a red circle moves left", "a cat"]
    found = reader.read(captions)
    assert len(found) == 2
    for values in found:
        assert list(values) == list(STATEMENTS)
        assert all(value in STATEMENTS[name] for name, value in values.items())


def test_training_learns_to_read(tmp_path):
    settings = TrainConfig(steps=40, learning_rate=3e-3, batch=32, ema_decay=0.5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = train_text_encoder(settings, tmp_path)
    lines = read_losses(tmp_path / "text.losses.jsonl")
    assert len(lines) == 40
    first, last = (fmean(line["loss"] for line in part) for part in (lines[:5], lines[-5:]))
    assert last < 0.7 * first
    one, same, other = encoder.encode(
        ["a red circle moves left", "the red circle drifts to the left", "a cat bobs over the sea"]
    ).embeddings.mean(dim=1)
    assert torch.dist(one, same) < 0.7 * torch.dist(one, other)
