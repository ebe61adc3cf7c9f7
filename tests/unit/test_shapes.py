"""The world of moving shapes, and the reader that says what a video of it shows."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch

from hummingbird_core.evaluation.shape_reader import Reading, read_video
from hummingbird_core.evaluation.shapes import Accuracy
from hummingbird_core.training.nano import shapes


def frames_of(scene: shapes.Scene) -> np.ndarray:
    video = shapes.render(scene)
    assert video.shape == (3, scene.num_frames, shapes.SIZE, shapes.SIZE)
    return (video.permute(1, 2, 3, 0) * 255).round().to(torch.uint8).numpy()


def test_reader_is_exact_on_ground_truth():
    for scene, _ in islice(shapes.samples(0), 150):
        expected = Reading(scene.colour, scene.shape, scene.direction)
        assert read_video(frames_of(scene)) == expected


def test_reader_sees_the_opposite_direction_when_played_backwards():
    scene, _ = next(shapes.samples(1))
    opposite = {"left": "right", "right": "left", "up": "down", "down": "up"}
    assert read_video(frames_of(scene)[::-1]).direction == opposite[scene.direction]


@pytest.mark.parametrize("level", [0, 128])
def test_reader_is_undecided_about_nothing(level):
    empty = np.full((16, 64, 64, 3), level, dtype=np.uint8)
    assert read_video(empty) == Reading(None, None, None)


def test_reader_is_undecided_about_noise():
    noise = np.random.default_rng(0).integers(0, 256, (16, 64, 64, 3), dtype=np.uint8)
    seen = read_video(noise)
    assert seen.shape is None
    assert seen.direction is None


def test_reader_gives_no_direction_to_a_still_picture():
    scene, _ = next(shapes.samples(2))
    still = np.repeat(frames_of(scene)[:1], 16, axis=0)
    assert read_video(still) == Reading(scene.colour, scene.shape, None)


def test_shapes_stay_inside_the_picture():
    for scene, _ in islice(shapes.samples(3), 50):
        video = shapes.render(scene)
        edges = torch.cat([video[..., 0, :], video[..., -1, :], video[..., 0], video[..., -1]], -1)
        background = torch.tensor(scene.background)[:, None, None]
        assert torch.allclose(edges, background.expand_as(edges), atol=1e-6)


def test_held_out_captions_are_never_trained_on():
    trained = {text for _, text in islice(shapes.samples(0), 500)}
    held_out = {text for _, text in islice(shapes.samples(0, held_out=True), 100)}
    assert not trained & held_out


def test_the_same_seed_gives_the_same_samples():
    assert list(islice(shapes.samples(7), 5)) == list(islice(shapes.samples(7), 5))


def test_vocabulary_covers_all_captions():
    words = set(shapes.vocabulary())
    for _, text in islice(shapes.samples(4), 300):
        assert set(text.split()) <= words


def test_wilson_interval():
    low, high = Accuracy(196, 200).interval  # value of the published formula
    assert (round(low, 4), round(high, 4)) == (0.9497, 0.9922)
    assert Accuracy(200, 200).interval[1] == 1.0
