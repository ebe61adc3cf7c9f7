"""The built-in model's world, and the readers that say what a video of it shows."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from hummingbird_core.nano.evaluate import SUBJECTS, Accuracy
from hummingbird_core.nano.latents import foreground_weight, image_latents
from hummingbird_core.nano.readers.images import ImageReading, read_image_scene
from hummingbird_core.nano.readers.shapes import ShapeReading, read_shape_scene
from hummingbird_core.nano.world.images import random_image, sprite
from hummingbird_core.nano.world.looks import PICTURES
from hummingbird_core.nano.world.motion import FRAME_SIZE
from hummingbird_core.nano.world.shapes import random_shape
from hummingbird_core.nano.world.world import is_held_out, samples, vocabulary

HALVES = [random_shape, random_image]


def frames_of(scene) -> np.ndarray:
    video = scene.render()
    assert video.shape == (3, scene.motion.num_frames, FRAME_SIZE, FRAME_SIZE)
    assert -1e-6 <= video.min() <= video.max() <= 1 + 1e-6
    return (video.permute(1, 2, 3, 0) * 255).round().to(torch.uint8).numpy()


# --- scenes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("draw", HALVES)
def test_subjects_stay_inside_the_picture(draw):
    for scene, _ in islice(samples(3, draw), 50):
        video = scene.render()
        rows = video[..., :1]
        assert torch.allclose(video[..., -1:], rows, atol=1e-6)  # each row has its own colour
        assert torch.allclose(video[:, :, 0], rows[:, :, 0].expand_as(video[:, :, 0]), atol=1e-6)
        assert torch.allclose(rows, rows[:, :1].expand_as(rows), atol=1e-6)


@pytest.mark.parametrize("num_frames", [1, 8, 26])
def test_any_number_of_frames_is_drawn(num_frames):
    for scene, _ in islice(samples(5, num_frames=num_frames, fps=8.0), 10):
        frames_of(scene)


def test_two_thirds_of_the_world_are_pictures_and_all_of_them_come():
    scenes = [scene for scene, _ in islice(samples(0), 400)]
    pictures = [scene.picture for scene in scenes if "picture" in scene.attributes]
    assert len(pictures) == pytest.approx(267, abs=40)
    assert set(pictures) == set(PICTURES)


@pytest.mark.parametrize("picture", [name for name, looks in PICTURES.items() if looks])
def test_pictures_look_where_they_go(picture):
    """Those that look anywhere are mirrored for one of the two ways, and only for that."""
    seen = {
        (scene.motion.direction, scene.looks, scene.is_mirrored)
        for scene, _ in islice(samples(1, random_image), 1500)
        if scene.picture == picture
    }
    own = PICTURES[picture]
    sideways = {(way, way, way != own) for way in ("left", "right")}
    assert seen == sideways | {(way, own, False) for way in ("up", "down")}


def test_a_picture_that_looks_nowhere_is_never_mirrored():
    scenes = (scene for scene, _ in islice(samples(1, random_image), 300))
    faces = [scene for scene in scenes if PICTURES[scene.picture] is None]
    assert faces
    assert not any(face.is_mirrored or "looks" in face.attributes for face in faces)


def test_a_mirrored_picture_is_the_picture_mirrored():
    scene, _ = next(samples(0, random_image, num_frames=1))
    motion = replace(scene.motion, start=(FRAME_SIZE / 2, FRAME_SIZE / 2))
    plain, mirrored = (sprite("rocket", motion, flag) for flag in (False, True))
    torch.testing.assert_close(mirrored, plain.flip(-1), atol=1e-5, rtol=0)
    assert (plain - mirrored).abs().max() > 0.5


@pytest.mark.parametrize("draw", HALVES)
def test_held_out_captions_are_never_trained_on(draw):
    trained = {text for _, text in islice(samples(0, draw), 500)}
    held_out = {text for _, text in islice(samples(0, draw, held_out=True), 100)}
    assert not trained & held_out
    assert all(map(is_held_out, held_out))


def test_the_same_seed_gives_the_same_samples():
    assert list(islice(samples(7), 5)) == list(islice(samples(7), 5))


def test_vocabulary_covers_all_captions():
    words = set(vocabulary())
    for _, text in islice(samples(4), 600):
        assert set(text.split()) <= words


@pytest.mark.parametrize("draw", HALVES)
def test_the_subject_weighs_more_than_what_is_behind_it(draw):
    for scene, _ in islice(samples(6, draw), 30):
        video = scene.render()
        latents = image_latents(video.transpose(0, 1) * 2 - 1).transpose(0, 1)[None]
        weight = foreground_weight(latents)[0, 0]  # [T, 8, 8]
        difference = (video - video[..., :1]).abs().amax(dim=0)  # [T, H, W]
        cells = torch.nn.functional.avg_pool2d(difference, 8)
        assert (weight[cells == 0] == 1).all()
        assert (weight > 1).flatten(1).any(dim=1).all()


# --- readers --------------------------------------------------------------------------------------


def test_the_reader_of_shapes_is_exact_on_ground_truth():
    for scene, _ in islice(samples(0, random_shape), 150):
        assert read_shape_scene(frames_of(scene)) == ShapeReading(**scene.attributes)


def test_the_reader_of_pictures_is_exact_on_ground_truth():
    for scene, _ in islice(samples(0, random_image), 60):
        direction = scene.motion.direction
        expected = ImageReading(scene.picture, direction, scene.attributes.get("place", ""))
        assert read_image_scene(frames_of(scene)) == expected


@pytest.mark.parametrize("name", SUBJECTS)
def test_readers_see_the_opposite_direction_when_played_backwards(name):
    half = SUBJECTS[name]
    scene, _ = next(samples(1, half.draw))
    opposite = {"left": "right", "right": "left", "up": "down", "down": "up"}
    seen = half.read(frames_of(scene)[::-1])
    assert seen.direction == opposite[scene.motion.direction]


@pytest.mark.parametrize("level", [0, 128])
def test_readers_are_undecided_about_nothing(level):
    empty = np.full((16, FRAME_SIZE, FRAME_SIZE, 3), level, dtype=np.uint8)
    assert read_shape_scene(empty) == ShapeReading(None, None, None)
    assert read_image_scene(empty) == ImageReading(None, None, "")


def test_readers_are_undecided_about_noise():
    noise = np.random.default_rng(0).integers(
        0, 256, (16, FRAME_SIZE, FRAME_SIZE, 3), dtype=np.uint8
    )
    shape, picture = read_shape_scene(noise), read_image_scene(noise)
    assert (shape.shape, shape.direction) == (None, None)
    assert (picture.picture, picture.direction) == (None, None)


def test_the_reader_of_pictures_does_not_take_a_shape_for_one():
    for scene, _ in islice(samples(8, random_shape), 20):
        assert read_image_scene(frames_of(scene)).picture is None


@pytest.mark.parametrize("name", SUBJECTS)
def test_readers_give_no_direction_to_a_still_picture(name):
    half = SUBJECTS[name]
    scene, _ = next(samples(2, half.draw))
    still = np.repeat(frames_of(scene)[:1], 16, axis=0)
    seen = half.read(still)
    assert seen.direction is None
    assert getattr(seen, half.aspects[0]) == scene.attributes[half.aspects[0]]


def test_wilson_interval():
    low, high = Accuracy(196, 200).interval  # value of the published formula
    assert (round(low, 4), round(high, 4)) == (0.9497, 0.9922)
    assert Accuracy(200, 200).interval[1] == 1.0
