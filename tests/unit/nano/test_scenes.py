"""The built-in model's world: scenes, captions and what is held out."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from hummingbird_core.nano.world.camera import CAMERA_MOVES, Camera
from hummingbird_core.nano.world.captions import Mention, Said, vocabulary, write
from hummingbird_core.nano.world.looks import PICTURES, SUBJECTS, Look, look_in_motion
from hummingbird_core.nano.world.paths import (
    DIRECTIONS,
    FRAME_SIZE,
    MOTIONS,
    PERIODIC,
    Clip,
    Path,
    random_path,
)
from hummingbird_core.nano.world.places import PLACES
from hummingbird_core.nano.world.scene import random_scene
from hummingbird_core.nano.world.stream import (
    HELD_OUT,
    has_held_out_combination,
    is_held_out,
    samples,
)

SPEEDS = [(16, 4.0), (16, 8.0), (16, 16.0), (26, 8.0), (26, 4.0)]


def drawn(count: int, seed: int = 0, clip: Clip | None = None, **options):
    return islice(samples(seed, clip, **options), count)


@pytest.mark.parametrize(("num_frames", "fps"), SPEEDS)
def test_subjects_stay_inside_the_frame(num_frames, fps):
    clip = Clip(num_frames, fps)
    for scene, _, _ in drawn(80, clip=clip):
        for subject in scene.subjects:
            x, y = subject.path.centers(clip.seconds)
            reach = subject.radius * scene.camera.scales(clip.seconds) - 0.5
            for center in (x, y):
                assert (center - reach >= 0).all()
                assert (center + reach <= FRAME_SIZE).all()


@pytest.mark.parametrize("num_frames", [1, 8, 26])
def test_any_number_of_frames_is_drawn(num_frames):
    for scene, _, _ in drawn(20, clip=Clip(num_frames)):
        video = scene.render()
        assert video.shape == (3, num_frames, FRAME_SIZE, FRAME_SIZE)
        assert -1e-6 <= video.min() <= video.max() <= 1 + 1e-6


def test_everything_that_can_be_said_comes():
    seen = {
        (kind, value)
        for scene, *_ in drawn(1500)
        for kind, _, value in scene.describe().attributes()
    }
    expected = {
        *(("subject", name) for name in SUBJECTS),
        *(("motion", motion) for motion in MOTIONS),
        *(("place", place) for place in PLACES),
        *(("camera", move) for move in CAMERA_MOVES),
        *(("size", size) for size in ("small", "big")),
        *(("pace", pace) for pace in ("slowly", "quickly")),
        *(("tone", tone) for tone in ("dark", "light")),
    }
    assert expected <= seen


def test_two_thirds_of_the_subjects_are_pictures_and_a_quarter_of_the_scenes_are_pairs():
    scenes = [scene for scene, *_ in drawn(600)]
    pictures = sum(scene.subjects[0].look.name in PICTURES for scene in scenes)
    pairs = sum(len(scene.subjects) == 2 for scene in scenes)
    assert pictures / 600 == pytest.approx(2 / 3, abs=0.06)
    assert pairs / 600 == pytest.approx(1 / 4, abs=0.06)


@pytest.mark.parametrize("motion", PERIODIC)
@pytest.mark.parametrize("num_frames", [8, 16, 26])
def test_a_loop_ends_where_it_begins(motion, num_frames):
    clip = Clip(num_frames, loop=True)
    path = random_path(random.Random(0), motion, clip, 12.0)
    ends = torch.tensor([0.0, num_frames / clip.fps])
    first, after_last = path.centers(ends).T
    torch.testing.assert_close(after_last, first, atol=1e-3, rtol=0)
    turns = path.angles(ends).diff() / (2 * math.pi)
    torch.testing.assert_close(turns, turns.round(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("motion", PERIODIC)
@pytest.mark.parametrize("clip", [Clip(8, 16.0), Clip(16), Clip(26, 4.0), Clip(16, loop=True)])
def test_periodic_motions_are_alike_half_way_through_the_clip(motion, clip):
    middle = torch.tensor([clip.seconds.mean(), clip.seconds.mean() + 0.01])
    for seed in range(4):
        path = random_path(random.Random(seed), motion, clip, 12.0)
        passed, later = path.centers(middle).T
        amplitude = path.amplitude if motion == "hover" else 0.0
        assert passed.tolist() == pytest.approx(
            [path.start[0], path.start[1] + amplitude], abs=1e-3
        )
        turned, later_turned = path.angles(middle).tolist()
        assert turned == pytest.approx(0, abs=1e-5)
        assert later_turned > 0 if motion == "spin" else (later - passed).abs().max() > 0


def test_loops_hold_only_motions_that_come_back_and_a_resting_camera():
    for scene, _, _ in drawn(60, clip=Clip(loop=True)):
        assert scene.camera.move is None
        assert all(subject.path.motion in PERIODIC for subject in scene.subjects)


@pytest.mark.parametrize("fps", [4.0, 8.0, 16.0])
def test_a_speed_is_in_seconds_at_every_frame_rate(fps):
    clip = Clip(fps=fps)
    path = Path("right", (20.0, 30.0), speed=5.0)
    step = path.centers(clip.seconds)[0].diff()
    torch.testing.assert_close(step, torch.full_like(step, 5.0 / fps), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", [name for name, faces in PICTURES.items() if faces])
def test_pictures_face_their_direction(name):
    for motion in MOTIONS:
        expected = motion in ("left", "right") and motion != PICTURES[name]
        assert look_in_motion(name, None, motion).mirrored == expected


def test_a_mirrored_picture_is_the_picture_mirrored():
    middle, still = torch.full((2, 1), FRAME_SIZE / 2), torch.zeros(1)
    plain, mirrored = (
        Look("rocket", mirrored=flag).draw(middle, still, torch.tensor([16.0]))
        for flag in (False, True)
    )
    torch.testing.assert_close(mirrored, plain.flip(-1), atol=1e-5, rtol=0)
    assert (plain - mirrored).abs().max() > 0.5


def test_a_pan_moves_the_background_against_the_camera():
    seconds = torch.tensor([0.0, 1.0])
    assert Camera("pan left", 8.0).shifts(seconds)[0].diff().item() == pytest.approx(8.0)
    assert Camera("pan down", 8.0).shifts(seconds)[1].diff().item() == pytest.approx(-8.0)
    assert Camera("zoom in", zoom=1.4).scales(seconds).tolist() == pytest.approx(
        [1.4**-0.5, 1.4**0.5]
    )


def test_two_subjects_do_not_overlap():
    pairs = [scene for scene, *_ in drawn(200) if len(scene.subjects) == 2]
    assert pairs
    for scene in pairs:
        first, second = (s.path.centers(scene.clip.seconds) for s in scene.subjects)
        gap = (first - second).abs().amax(dim=0)
        assert (gap > 0.9 * sum(s.radius for s in scene.subjects)).all()


def test_what_is_said_is_what_is_drawn():
    said = Said((Mention("circle", "red", motion="bob"),), place="sea", camera="zoom in")
    scene = random_scene(random.Random(0), said=said)
    known = scene.describe()
    mention = replace(known.mentions[0], size=None, pace=None)
    assert replace(known, mentions=(mention,)) == said


def test_words_that_are_left_out_are_drawn_anew():
    said = Said((Mention("circle"),))
    scenes = [random_scene(random.Random(seed), said=said) for seed in range(60)]
    assert len({scene.subjects[0].look.color for scene in scenes}) == 6
    assert len({scene.subjects[0].path.motion for scene in scenes}) >= len(DIRECTIONS)
    assert {scene.tone for scene in scenes} == {"dark", "light"}


# --- captions -------------------------------------------------------------------------------------


def test_silence_says_nothing_of_size_and_pace():
    """With words for some values alone, silence would mean the others, and guidance draw these."""
    known = {"size": [], "pace": []}
    for scene, said, _ in drawn(1500, seed=7):
        subject, mention = scene.subjects[0], said.mentions[0]
        if len(scene.subjects) == 1 and mention.motion and mention.motion != "hover":
            known["size"].append((subject.size == "small", mention.size is None))
            known["pace"].append((subject.path.pace == "slowly", mention.pace is None))
    for values in known.values():
        is_low, is_silent = torch.tensor(values).unbind(1)
        in_silence = float(is_low[is_silent].float().mean())
        assert in_silence == pytest.approx(float(is_low.float().mean()), abs=0.05)


def test_the_vocabulary_covers_all_captions():
    words = set(vocabulary())
    for held_out in (None, *HELD_OUT):
        for _, _, text in drawn(300, seed=4, held_out=held_out):
            assert set(text.split()) <= words


def test_a_caption_names_each_statement():
    said = Said((Mention("square", "blue", "small", "left", "slowly"),), "night", None, "pan up")
    for seed in range(30):
        words = write(said, random.Random(seed)).split()
        assert {"square", "blue", "small", "slowly", "night", "up"} <= set(words)
        assert any(word.startswith("left") for word in words)


def test_held_out_captions_are_never_trained_on():
    trained = list(drawn(800))
    for held_out in HELD_OUT:
        texts = {text for _, _, text in drawn(100, held_out=held_out)}
        assert not texts & {text for _, _, text in trained} or held_out == "order"
    assert not any(is_held_out(text) for *_, text in trained)
    assert not any(has_held_out_combination(scene.describe()) for scene, *_ in trained)
    combinations = list(drawn(50, held_out="combination"))
    assert all(has_held_out_combination(scene.describe()) for scene, *_ in combinations)


def test_an_unusual_order_is_none_of_the_usual():
    said = Said((Mention("cat", motion="left", pace="slowly"),), "sea", None, "zoom in")
    usual = {write(said, random.Random(seed)) for seed in range(3000)}
    unusual = {write(said, random.Random(seed), unusual=True) for seed in range(300)}
    assert not usual & unusual


def test_the_same_seed_gives_the_same_samples():
    first, second = (list(drawn(5, seed=7)) for _ in range(2))
    assert first == second
    assert np.array_equal(first[0][0].render(), second[0][0].render())
