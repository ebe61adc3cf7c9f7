"""Default rules on small pictures: clips of the built-in world pass, planted faults do not."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter
from support.planted_defects import scene, title_card, with_bars

from hummingbird_core.curation.measure import score_stages
from hummingbird_core.curation.selection import DEFAULT_RULES
from hummingbird_core.curation.stages.camera_motion import camera_motion
from hummingbird_core.nano.world.paths import NANO_FPS
from hummingbird_core.nano.world.stream import samples
from hummingbird_core.vqa import measure

CLIPS = 40
SIDE, FRAMES = 64, 16


def clean(seed: int) -> np.ndarray:
    drawn, _, _ = next(samples(seed))
    return (drawn.render() * 255).round().byte().permute(1, 2, 3, 0).numpy()


def faults(frames: np.ndarray) -> list[str]:
    """Default rules that drop a clip."""
    row = {}
    for stage in score_stages(None, ()):
        row |= stage(frames, NANO_FPS)
    return [
        name
        for name, rule in DEFAULT_RULES.items()
        if name in row
        and (
            (rule.minimum is not None and row[name] < rule.minimum.value)
            or (rule.maximum is not None and row[name] > rule.maximum.value)
        )
    ]


def test_clean_clips_of_the_built_in_world_pass():
    dropped = {seed: found for seed in range(CLIPS) if (found := faults(clean(seed)))}
    assert len(dropped) <= 0.05 * CLIPS, dropped


def blurred(frames: np.ndarray) -> np.ndarray:
    blur = ImageFilter.GaussianBlur(2)
    return np.stack([np.asarray(Image.fromarray(frame).filter(blur)) for frame in frames])


def frozen(frames: np.ndarray) -> np.ndarray:
    return frames[np.minimum(np.arange(len(frames)), 4)]


def shaken(frames: np.ndarray) -> np.ndarray:
    padded = np.pad(frames, ((0, 0), (5, 5), (5, 5), (0, 0)), mode="edge")
    places = np.random.default_rng(0).integers(0, 11, (len(frames), 2))
    views = zip(padded, places, strict=True)
    return np.stack([view[y : y + SIDE, x : x + SIDE] for view, (y, x) in views])


def darkened(frames: np.ndarray) -> np.ndarray:
    return np.concatenate([0 * frames[:4], frames[4:]])


PLANTED = {
    "blur": (blurred, {"blur"}),
    "freeze": (frozen, {"longest_freeze"}),
    "shake": (shaken, {"camera_shake", "motion_smoothness"}),
    "bars": (lambda frames: with_bars(frames, 8, 0), {"bars"}),
    "title": (lambda frames: title_card(len(frames), SIDE, SIDE, 0.2), {"title_fraction"}),
    "black": (darkened, {"black_fraction"}),
}


@pytest.mark.parametrize("kind", PLANTED)
def test_planted_faults_are_found(kind):
    plant, rules = PLANTED[kind]
    for seed in range(4):
        assert rules & set(faults(plant(clean(seed)))), (seed, faults(plant(clean(seed))))


def moving(places: np.ndarray, ground: int = 200, inside: bool = True) -> np.ndarray:
    """A face that moves over a plain ground, at `places` [T, 2], x and y; or a red square."""
    frames = []
    for x, y in places:
        picture = Image.new("RGB", (4 * SIDE, 4 * SIDE), (ground, ground, ground))
        draw = ImageDraw.Draw(picture)
        x, y = 4 * x, 4 * y
        if inside:
            draw.ellipse((x - 40, y - 40, x + 40, y + 40), "white", "black", 8)
            for part in (-24, 0, 24):  # ears, eyes and teeth: dark and light by turns
                draw.rectangle((x + part - 6, y - 24, x + part + 2, y + 24), "black")
        else:
            draw.rectangle((x - 40, y - 40, x + 40, y + 40), (230, 30, 30))
        frames.append(np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX)))
    return np.stack(frames)


def swing(period: float) -> np.ndarray:
    times = np.arange(FRAMES)
    return np.stack([32 + 5 * np.sin(2 * np.pi * times / period), 0 * times + 30.0], axis=1)


def test_a_detailed_subject_on_a_plain_ground_is_no_title_and_no_camera():
    row = {**measure(moving(swing(8)), NANO_FPS), **camera_motion(moving(swing(8)), NANO_FPS)}
    assert row["title_fraction"] == 0
    assert "camera_shake" not in row
    assert row["bars"] == 0


@pytest.mark.parametrize("height", [48, 64, 96, 240, 480])
def test_letters_are_a_title_at_any_size(height):
    card = title_card(2, height, height * 4 // 3)
    assert measure(card, NANO_FPS)["title_fraction"] == 1


def test_an_even_swing_is_smooth_at_a_low_frame_rate_and_stop_and_go_is_not():
    assert measure(moving(swing(8)), NANO_FPS)["motion_smoothness"] > 0.75
    stops = swing(16)[np.arange(FRAMES) // 3 * 3]
    assert measure(moving(stops), NANO_FPS)["motion_smoothness"] < 0.6


def test_color_is_contrast():
    red = moving(swing(8), ground=60, inside=False)
    assert measure(red, NANO_FPS)["contrast"] > 0.1
    fog = (scene(1, 4, SIDE, SIDE) * 0.15 + 170).astype(np.uint8)
    assert measure(fog, NANO_FPS)["contrast"] < 0.035


def test_shake_is_measured_alike_in_small_pictures():
    """Compare one view in two sizes; in the small one, a jump counts less by one of its pixels."""
    world = scene(3, 1, 192, 192)[0]
    places = 2 * np.resize([(0, 0), (4, 0), (4, 4), (0, 4)], (FRAMES, 2))
    large = np.stack([world[y : y + 128, x : x + 128] for y, x in places])
    small = [Image.fromarray(f).resize((SIDE, SIDE), Image.Resampling.BOX) for f in large]
    shakes = [camera_motion(np.stack(v), NANO_FPS)["camera_shake"] for v in (large, small)]
    pixel = 100 / (SIDE * np.sqrt(2))
    jump = 4 * np.sqrt(2) * pixel  # every step of 4 of its pixels turns by a right angle
    assert shakes[0] == pytest.approx(jump, rel=0.1)
    assert shakes[1] == pytest.approx(jump - pixel, rel=0.15)
