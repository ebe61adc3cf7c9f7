"""The reader of scenes, on clips that are drawn and so known exactly."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.shape_clips import frames_of

from hummingbird_core.nano.readers.scene import SceneReading, read_scene
from hummingbird_core.nano.world.captions import Mention, Said
from hummingbird_core.nano.world.paths import DIRECTIONS, FRAME_SIZE, Clip
from hummingbird_core.nano.world.scene import Scene, random_scene
from hummingbird_core.nano.world.stream import samples

FPS = 8.0


def mistakes(scene: Scene, seen: SceneReading) -> list[str]:
    """Names of what the reader gets wrong."""
    known = scene.describe()
    found = {(s.look.name, s.look.color): s for s in seen.subjects}
    wrong = [kind for kind in ("tone", "camera") if getattr(known, kind) != getattr(seen, kind)]
    wrong += ["place"] * (seen.place != (known.place or ""))
    wrong += ["count"] * (len(seen.subjects) != len(scene.subjects))
    for mention, subject in zip(known.mentions, scene.subjects, strict=True):
        reading = found.get((mention.subject, mention.color))
        if reading is None:
            wrong.append("subject")
            continue
        wrong += ["motion"] * (reading.motion != mention.motion)
        wrong += ["mirrored"] * (reading.look.mirrored != subject.look.mirrored)
        wrong += ["size"] * (mention.size is not None and reading.size != mention.size)
        has_pace = mention.pace is not None and mention.motion != "hover"
        wrong += ["pace"] * (has_pace and reading.pace != mention.pace)
    return wrong


@pytest.mark.parametrize(("num_frames", "count"), [(16, 16), (26, 4)])
def test_drawn_clips_are_read_right(num_frames, count):
    drawn = [scene for scene, *_ in islice(samples(3, Clip(num_frames)), count)]
    wrong = {str(scene): mistakes(scene, read_scene(frames_of(scene), FPS)) for scene in drawn}
    assert sum(map(bool, wrong.values())) == 0, wrong


def test_what_a_decoder_softens_is_read_right():
    """Edges over five pixels, and less contrast of the hills at night: people see no difference."""
    drawn = [scene for scene, *_ in islice(samples(29), 24)]
    wrong = {str(s): mistakes(s, read_scene(softened(frames_of(s)), FPS)) for s in drawn}
    assert sum(map(bool, wrong.values())) <= 1, wrong


def softened(frames: np.ndarray) -> np.ndarray:
    """Blur frames `[T, H, W, 3]`, and move their colors 15 % towards those of each frame's mean."""
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
    for _ in range(2):
        pixels = F.avg_pool2d(F.pad(pixels, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    mean = pixels.mean(dim=(2, 3), keepdim=True)
    return (0.85 * pixels + 0.15 * mean).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def test_positions_and_speeds_are_measured():
    for scene, *_ in islice(samples(11), 6):
        seen = read_scene(frames_of(scene), FPS)
        for subject in scene.subjects:
            (reading,) = [s for s in seen.subjects if s.look.name == subject.look.name]
            start = subject.path.centers(torch.zeros(1))[:, 0].numpy()
            assert np.abs(start - reading.start).max() < 2
            assert reading.radius == pytest.approx(subject.radius, abs=1.5)
            if subject.path.motion in DIRECTIONS:
                assert reading.speed == pytest.approx(subject.path.speed, rel=0.15)
            assert reading.distance < 0.15


def test_motion_played_backwards_is_the_opposite():
    opposite = {"left": "right", "right": "left", "up": "down", "down": "up"}
    scenes = (s for s, *_ in samples(1) if len(s.subjects) == 1 and not s.camera.move)
    across = (s for s in scenes if s.subjects[0].path.motion in DIRECTIONS)
    for scene in islice(across, 4):
        (seen,) = read_scene(frames_of(scene)[::-1].copy(), FPS).subjects
        assert seen.motion == opposite[scene.subjects[0].path.motion]


@pytest.mark.parametrize("level", [0, 128])
def test_nothing_is_read_in_an_empty_video(level):
    empty = np.full((16, FRAME_SIZE, FRAME_SIZE, 3), level, dtype=np.uint8)
    assert read_scene(empty, FPS).subjects == ()


def test_nothing_is_read_in_noise():
    shape = (16, FRAME_SIZE, FRAME_SIZE, 3)
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert read_scene(noise, FPS).subjects == ()


def test_a_still_video_hovers():
    scene = next(s for s, *_ in samples(2) if len(s.subjects) == 1 and not s.camera.move)
    still = np.repeat(frames_of(scene)[:1], 16, axis=0)
    (seen,) = read_scene(still, FPS).subjects
    assert (seen.look.name, seen.motion) == (scene.subjects[0].look.name, "hover")


def test_a_subject_that_changes_its_look_flickers():
    scene = next(s for s, *_ in samples(5) if len(s.subjects) == 1 and not s.camera.move)
    frames = frames_of(scene).astype(np.float32)
    (steady,) = read_scene(frames.astype(np.uint8), FPS).subjects
    gain = 1 + 0.15 * (np.arange(16) % 2)
    pulsing = (frames * gain[:, None, None, None]).clip(0, 255).astype(np.uint8)
    (seen,) = read_scene(pulsing, FPS).subjects
    assert seen.flicker > 2 * steady.flicker


@pytest.mark.parametrize(("motion", "fps"), [("hover", 8.0), ("hover", 16.0), ("left", 16.0)])
def test_slow_motions_are_not_mistaken_for_hovering(motion, fps):
    """A slow hover shows less than a period; a slow second across the frame is four pixels."""
    said = Said((Mention("fish", motion=motion, pace="slowly"),))
    for seed in range(12):
        scene = random_scene(random.Random(seed), Clip(16, fps), said)
        (seen,) = read_scene(frames_of(scene), fps).subjects
        assert seen.motion == motion, seed


@pytest.mark.parametrize("seed", [3, 5])
@pytest.mark.parametrize("names", [("panda", "rocket"), ("rocket", "car"), ("panda", "octopus")])
def test_a_mixture_of_two_pictures_is_neither(names, seed):
    said = [Said((Mention(name, motion="hover"),)) for name in names]
    first, second = (random_scene(random.Random(seed), Clip(8), each) for each in said)
    second = replace(second, background=first.background, camera=first.camera)
    mixed = (frames_of(first).astype(np.float32) + frames_of(second)) / 2
    assert read_scene(mixed.astype(np.uint8), FPS).subjects == ()


@pytest.mark.parametrize("shape", [(16, 32, 32, 3), (1, 64, 64, 3)])
def test_frames_of_another_size_and_single_frames_are_refused(shape):
    with pytest.raises(ValueError, match="expected Tx64x64x3, T > 1"):
        read_scene(np.zeros(shape, dtype=np.uint8), FPS)


@pytest.mark.parametrize("num_frames", [2, 3, 5])
def test_the_subjects_of_a_short_video_are_read(num_frames):
    for scene, *_ in islice(samples(3, Clip(num_frames)), 3):
        seen = {subject.look.name for subject in read_scene(frames_of(scene), FPS).subjects}
        assert seen == {subject.look.name for subject in scene.subjects}
