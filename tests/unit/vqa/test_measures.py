"""Weight-free measures: each defect is found on a video that has it, and on no other.

The videos are synthetic: a landscape of 1/f noise with hard-edged boxes, seen by a moving camera,
moving objects, noise, a zoom. Thresholds are the documented defaults.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.planted_defects import scene, title_card, with_bars

from hummingbird_core.errors import InputError
from hummingbird_core.vqa import Score, find_defects, measure, score_video
from hummingbird_core.vqa.measures.frames import blockiness, blur, luma, thumbnail
from hummingbird_core.vqa.measures.motion import block_motion

HEIGHT, WIDTH, FRAMES, FPS = 96, 128, 16, 8.0
MOTION_TOLERANCE = 0.1  # pixels of the thumbnail


def landscape(seed: int, height: int = 2 * HEIGHT, width: int = 2 * WIDTH) -> np.ndarray:
    """A still picture with the spectrum of natural ones, float `[height, width, 3]`."""
    rng = np.random.default_rng(seed)
    down, right = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    amplitude = 1 / np.maximum(np.hypot(down, right), 1 / width)
    picture = np.empty((height, width, 3))
    for channel in range(3):
        phase = np.exp(2j * np.pi * rng.random(amplitude.shape))
        noise = np.fft.irfft2(amplitude * phase, s=(height, width))
        picture[..., channel] = rng.uniform(80, 170) + 35 * noise / noise.std()
    for top, left in rng.integers(0, (height - 40, width - 40), (40, 2)):
        h, w = rng.integers(8, 40, 2)
        picture[top : top + h, left : left + w] = rng.uniform(20, 235, 3)
    return picture.clip(0, 255)


def camera(picture: np.ndarray, path: np.ndarray) -> np.ndarray:
    """Views of a picture from places `[T, 2]` (row, column), with fractions, uint8."""
    views = []
    for place in path:
        (top, left), (y, x) = np.floor(place).astype(int), place % 1
        four = [
            picture[top + i : top + i + HEIGHT, left + j : left + j + WIDTH]
            for i, j in ((0, 0), (0, 1), (1, 0), (1, 1))
        ]
        upper, lower = (1 - x) * four[0] + x * four[1], (1 - x) * four[2] + x * four[3]
        views.append((1 - y) * upper + y * lower)
    return np.stack(views).clip(0, 255).round().astype(np.uint8)


def steady(speed: tuple[float, float], frames: int = FRAMES) -> np.ndarray:
    return np.array([10.0, 12.0]) + np.arange(frames)[:, None] * np.array(speed)


def pan(seed: int = 1, speed: tuple[float, float] = (0.6, 2.3)) -> np.ndarray:
    return camera(landscape(seed), steady(speed))


def handheld() -> np.ndarray:
    t = np.arange(FRAMES)
    path = 40 + np.stack([12 * np.sin(t / 5), 20 * np.sin(t / 4)], axis=1)
    return camera(landscape(2), path)


def noisy() -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 4, (FRAMES, HEIGHT, WIDTH, 3))
    return (pan(3) + noise).clip(0, 255).astype(np.uint8)


def moving_disc(background: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    video = np.repeat(background[None], FRAMES, axis=0).astype(np.uint8)
    for t in range(FRAMES):
        video[t, np.hypot(y - 40, x - 30 - 4 * t) < 14] = (200, 40, 40)
    return video


def zoom() -> np.ndarray:
    picture = landscape(4)
    centre = np.array([HEIGHT, WIDTH])
    views = []
    for t in range(FRAMES):
        rows, columns = np.mgrid[:HEIGHT, :WIDTH]
        scale = 1 / (1 + 0.01 * t)
        rows, columns = (rows - HEIGHT / 2) * scale, (columns - WIDTH / 2) * scale
        places = np.stack([rows + centre[0], columns + centre[1]])
        views.append(bilinear(picture, places))
    return np.stack(views).astype(np.uint8)


def bilinear(picture: np.ndarray, places: np.ndarray) -> np.ndarray:
    (top, left), (y, x) = np.floor(places).astype(int), places % 1
    y, x = y[..., None], x[..., None]
    upper = (1 - x) * picture[top, left] + x * picture[top, left + 1]
    lower = (1 - x) * picture[top + 1, left] + x * picture[top + 1, left + 1]
    return (1 - y) * upper + y * lower


GOOD = {
    "pan": pan,
    "slow pan": lambda: pan(5, (0.1, 0.4)),
    "fast pan": lambda: pan(6, (0.0, 6.0)),
    "handheld": handheld,
    "noisy": noisy,
    "disc on plain ground": lambda: moving_disc(np.full((HEIGHT, WIDTH, 3), 220.0)),
    "disc of the same brightness": lambda: moving_disc(np.full((HEIGHT, WIDTH, 3), 88.0)),
    "disc on dark ground": lambda: moving_disc(np.full((HEIGHT, WIDTH, 3), 12.0)),
    "disc on landscape": lambda: moving_disc(landscape(7, HEIGHT, WIDTH)),
    "zoom": zoom,
}


def blurred(video: np.ndarray) -> np.ndarray:
    """Three box filters, nearly a Gaussian of 4 pixels."""
    out = video.astype(np.float64)
    for _ in range(3):
        for axis in (1, 2):
            out = sum(np.roll(out, shift, axis) for shift in range(-4, 5)) / 9
    return out.astype(np.uint8)


def blocky(video: np.ndarray) -> np.ndarray:
    """Each 8 x 8 block keeps its mean and a third of its detail, as from a coarse quantiser."""
    t, h, w, c = video.shape
    blocks = video.reshape(t, h // 8, 8, w // 8, 8, c).astype(np.float64)
    mean = blocks.mean(axis=(2, 4), keepdims=True)
    return (mean + (blocks - mean) / 3).reshape(video.shape).astype(np.uint8)


def flickering(video: np.ndarray) -> np.ndarray:
    gain = np.random.default_rng(0).uniform(0.8, 1.1, (len(video), 1, 1, 1))
    return (video * gain).clip(0, 255).astype(np.uint8)


def with_frames(video: np.ndarray, start: int, stop: int, value) -> np.ndarray:
    video = video.copy()
    video[start:stop] = value
    return video


def shaken() -> np.ndarray:
    return camera(landscape(1), 40 + np.random.default_rng(0).uniform(-5, 5, (FRAMES, 2)))


def jerky() -> np.ndarray:
    """A pan whose camera stops and jumps."""
    moments = np.cumsum(np.resize([3, 0, 1, 0, 4, 0, 1], FRAMES))
    return camera(landscape(1), steady((0.6, 2.3), 60)[moments])


def not_finite() -> np.ndarray:
    video = pan() / np.float32(255)
    video[3, 10, 10, 0] = np.nan
    return video


BAD = {
    "blurred": lambda: blurred(pan()),
    "blocky": lambda: blocky(pan()),
    "flicker": lambda: flickering(pan()),
    "frozen": lambda: with_frames(pan(), 5, 12, pan()[5]),
    "black": lambda: with_frames(pan(), 5, 9, 3),
    "flat": lambda: with_frames(pan(), 5, 9, (120, 130, 90)),
    "cut": lambda: np.concatenate([pan(1)[:8], pan(9)[:8]]),
    "jerky": jerky,
    "jerky (shaken)": shaken,
    "overexposed": lambda: (2 * pan().astype(int) + 60).clip(0, 255).astype(np.uint8),
    "underexposed": lambda: pan() // 6,
    "nan": not_finite,
    "bars": lambda: with_bars(pan(), 12, 0),
    "bars (pillarbox)": lambda: with_bars(pan(), 0, 16),
    "bars (window, gray)": lambda: with_bars(pan(), 8, 12, 90),
    "noise": lambda: np.random.default_rng(0).integers(0, 256, (16, 96, 128, 3), dtype=np.uint8),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_videos_have_no_defect(name):
    score = score_video(GOOD[name](), FPS)
    assert find_defects(score) == [], score


@pytest.mark.parametrize("name", BAD)
def test_a_planted_defect_is_found_and_no_other(name):
    score = score_video(BAD[name](), FPS)
    assert find_defects(score) == [name.split()[0]], score


def test_a_still_picture_is_frozen_and_static():
    video = np.repeat(pan()[:1], FRAMES, axis=0)
    score = score_video(video, FPS)
    assert find_defects(score) == ["frozen", "static"]
    assert score.motion == 0
    assert score.longest_freeze == pytest.approx((FRAMES - 1) / FPS)


def test_a_still_picture_with_noise_is_static_but_not_frozen():
    noise = np.random.default_rng(0).normal(0, 3, (FRAMES, HEIGHT, WIDTH, 3))
    video = (pan()[:1] + noise).clip(0, 255).astype(np.uint8)
    assert find_defects(score_video(video, FPS)) == ["static"]


def test_a_faint_defect_scores_less_than_a_strong_one():
    video = pan()
    faint = np.where(np.arange(FRAMES)[:, None, None, None] % 2, video, video * 0.97)
    videos = (video, faint.astype(np.uint8), flickering(video))
    values = [measure(v, FPS)["flicker"] for v in videos]
    assert values[0] < values[1] < values[2]


@pytest.mark.parametrize("speed", [(0.0, 0.0), (0.3, 0.1), (-1.0, 2.0), (3.0, -4.0)])
def test_block_motion_measures_speed(speed):
    before, after = (
        thumbnail(frame).mean(0, keepdim=True)
        for frame in camera(landscape(1), 40 + np.array([[0, 0], speed]))
    )
    motion = block_motion(before, after)
    seen = motion.is_textured & motion.is_explained
    scale = 64 / WIDTH
    expected = -torch.tensor(speed) * scale  # what the camera passes moves the other way
    assert (motion.vectors[seen].mean(0) - expected).abs().max() <= MOTION_TOLERANCE


def test_motion_is_in_lengths_of_the_longer_side_a_second():
    score = score_video(pan(1, (0.0, 2.0)), FPS)
    assert score.motion == pytest.approx(2 * FPS / WIDTH, rel=0.1)


def test_freeze_is_in_seconds():
    video = with_frames(pan(), 5, 12, pan()[5])  # six repeats
    assert score_video(video, 12).longest_freeze == pytest.approx(6 / 12)


def test_dark_sides_and_bars_on_one_side_are_no_bars():
    night = np.zeros_like(scene(1, 16, 96, 128))
    night[:, 20:76, 30:98] = scene(1, 16, 56, 68)  # equally wide, but ...
    fade = np.minimum(1, np.hypot(*np.mgrid[-1:1:96j, -1:1:128j]))[..., None]
    ticker = scene(2, 16, 96, 128)
    ticker[:, -20:] = 0
    for video in ((pan() * (1 - fade)).astype(np.uint8), ticker):
        assert measure(video, FPS)["bars"] == 0
    assert measure(night, FPS)["bars"] > 0.5  # ... a window in the black is


@pytest.mark.parametrize("growth", [0.0, 0.2])
def test_a_title_card_is_found(growth):
    card = title_card(FRAMES, HEIGHT, WIDTH, growth)
    fading = (card * np.linspace(0.7, 1, FRAMES)[:, None, None, None]).astype(np.uint8)
    for video in (card, fading):
        assert "title" in find_defects(score_video(video, FPS))


def test_blocks_too_weak_to_see_do_not_count():
    """A plain sky: steps of half a level at the edges of blocks are most of what there is."""
    sky = np.full((96, 128), 120, np.float32) + np.arange(128)[None] // 8 * 0.5
    assert blockiness(sky + np.arange(96)[:, None] // 8 * 0.5) < 0.9


def test_two_cuts_are_two():
    video = np.concatenate([pan(1)[:5], pan(9)[:5], pan(11)[:6]])
    assert measure(video, FPS)["cuts"] == 2


def test_blur_and_blockiness_of_single_frames():
    y = luma(pan()[0])
    assert 0 <= blur(y) < 0.4 < 0.6 < blur(luma(blurred(pan()[:1])[0])) <= 1
    blocks = luma(blocky(pan()[:1])[0])
    assert blockiness(y) < 0.2 < 0.9 < blockiness(blocks)
    assert blockiness(blocks[3:, 5:]) > 0.9  # a crop does not hide the grid
    assert blur(np.full((40, 40), 9, np.float32)) is None


@pytest.mark.parametrize("level", [0, 128])
def test_what_a_blank_video_does_not_show_is_absent(level):
    found = measure(np.full((16, HEIGHT, WIDTH, 3), level, np.uint8), FPS)
    hidden = {"blur", "blockiness", "motion", "motion_smoothness", "static_fraction"}
    hidden |= {"noise", "bars", "title_fraction"}
    assert not hidden & found.keys()
    assert found["flicker"] == 0  # its brightness is known, and does not change


def test_what_a_small_video_does_not_show_is_absent():
    noise = np.random.default_rng(0).integers(0, 256, (4, 65, 65, 3), dtype=np.uint8)
    assert {"blur", "blockiness"} <= measure(noise, FPS).keys()
    assert "blockiness" not in measure(noise[:, :64], FPS)
    assert "blur" in measure(noise[:, :9], FPS)
    assert "blur" not in measure(noise[:, :9, :9], FPS)


def test_share_of_nan_is_exact():
    video = np.full((2, 10, 10, 3), 0.5, np.float32)
    video[0, :, :5] = np.inf
    assert measure(video)["nan_fraction"] == 0.25


def test_a_single_frame_has_no_motion_measures():
    score = score_video(pan()[:1], FPS)
    assert score.flicker is None
    assert "motion" not in score.to_dict()
    assert score.num_frames == 1
    assert find_defects(score) == []


def test_without_weights_learned_scores_are_absent():
    score = score_video(pan(), FPS)
    assert (score.technical, score.aesthetic, score.overall) == (None, None, None)
    assert not {"technical", "aesthetic", "overall"} & score.to_dict().keys()


def test_measures_and_score_have_the_same_names():
    names = set(measure(pan(), FPS)) | {"technical", "aesthetic", "overall"}
    assert names == set(Score.__dataclass_fields__)


def test_frames_may_stream_and_be_of_any_size():
    generator = (frame for frame in pan())
    assert measure(generator, FPS) == measure(pan(), FPS)
    for height, width in ((1, 1), (7, 300), (64, 64)):
        noise = np.random.default_rng(0).integers(0, 256, (3, height, width, 3), dtype=np.uint8)
        assert np.isfinite(list(measure(noise, FPS).values())).all()


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((0, 8, 8, 3), np.uint8),
        np.zeros((2, 8, 8, 4), np.uint8),
        np.zeros((2, 8, 8, 3), np.int64),
        np.zeros((8, 8, 3), np.uint8),
    ],
)
def test_what_is_no_video_is_refused(frames):
    with pytest.raises(InputError, match="expected"):
        score_video(frames)


def test_frames_of_two_sizes_and_a_bad_rate_are_refused():
    with pytest.raises(InputError, match="one size"):
        measure([np.zeros((8, 8, 3), np.uint8), np.zeros((9, 8, 3), np.uint8)])
    with pytest.raises(InputError, match="more than 0"):
        measure(pan(), 0)
