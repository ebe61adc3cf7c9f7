"""Camera motion and overlays on videos that have exactly that, and on others that do not."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from PIL import Image, ImageDraw
from support.planted_defects import scene

from hummingbird_core.curation.stages.camera_motion import camera_motion
from hummingbird_core.curation.stages.overlays import load_detector, overlay_share
from hummingbird_core.errors import InputError

FPS = 10.0
HEIGHT, WIDTH, FRAMES = 96, 128, 10
TEXTURE = scene(7, 1, 2 * HEIGHT, 2 * WIDTH)[0]


def view(shift=(0.0, 0.0), zoom=1.0) -> np.ndarray:
    """A look at the texture, moved (pixels right and down) and enlarged about the middle."""
    width, height = WIDTH / zoom, HEIGHT / zoom
    left, top = WIDTH / 2 + (WIDTH - width) / 2, HEIGHT / 2 + (HEIGHT - height) / 2
    left, top = left - shift[0], top - shift[1]
    picture = Image.fromarray(TEXTURE)
    box = (left, top, left + width, top + height)
    return np.asarray(picture.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC, box=box))


def video(shifts=None, zooms=None) -> np.ndarray:
    shifts = shifts or [(0.0, 0.0)] * FRAMES
    zooms = zooms or [1.0] * FRAMES
    return np.stack([view(shift, zoom) for shift, zoom in zip(shifts, zooms, strict=True)])


DIAGONAL = np.hypot(HEIGHT, WIDTH)


def test_a_still_camera():
    assert all(value < 0.05 for value in camera_motion(video(), FPS).values())


def test_a_pan_has_speed_and_no_shake():
    motion = camera_motion(video(shifts=[(1.5 * t, 0.5 * t) for t in range(FRAMES)]), FPS)
    speed = 100 * np.hypot(1.5, 0.5) / DIAGONAL * FPS
    assert motion["camera_speed"] == pytest.approx(speed, rel=0.1)
    assert motion["camera_shake"] < 0.15
    assert motion["camera_zoom"] < 2


def test_shake_is_measured():
    rng = np.random.default_rng(0)
    places = rng.uniform(-2, 2, (FRAMES, 2))
    motion = camera_motion(video(shifts=[tuple(place) for place in places]), FPS)
    jumps = np.linalg.norm(np.diff(places, 2, axis=0), axis=1)
    assert motion["camera_shake"] == pytest.approx(100 * jumps.mean() / DIAGONAL, rel=0.15)


@pytest.mark.parametrize("growth", [0.02, -0.02])
def test_a_zoom_is_measured_and_is_no_dolly_zoom(growth):
    motion = camera_motion(video(zooms=[(1 + growth) ** t * 1.2 for t in range(FRAMES)]), FPS)
    assert motion["camera_zoom"] == pytest.approx(100 * abs(growth) * FPS, rel=0.15)
    assert motion["dolly_zoom"] < 5


def test_a_dolly_zoom_is_told_from_a_zoom():
    """The subject in the middle keeps its size while everything around it grows."""
    frames = video(zooms=[1.02**t for t in range(FRAMES)])
    subject = view(zoom=1.5)
    top, left = HEIGHT // 6, WIDTH // 6
    frames[:, top:-top, left:-left] = subject[top:-top, left:-left]
    assert camera_motion(frames, FPS)["dolly_zoom"] > 10


def test_a_moving_object_is_not_the_camera():
    frames = video().copy()
    for t in range(FRAMES):
        frames[t, 30:60, 10 + 3 * t : 40 + 3 * t] = (220, 30, 30)
    motion = camera_motion(frames, FPS)
    assert motion["camera_speed"] < 2
    assert motion["camera_shake"] < 0.15


@pytest.mark.parametrize("level", [0, 128])
def test_where_there_is_nothing_to_follow_nothing_is_measured(level):
    frames = np.full((5, HEIGHT, WIDTH, 3), level, np.uint8)
    assert camera_motion(frames, FPS) == {}


def test_a_zoom_with_a_plain_middle_is_no_dolly_zoom():
    frames = zoom_of(1.015, 72)
    assert camera_motion(frames, FPS)["camera_zoom"] > 10
    frames[:, 12:-12, 21:-21] = 128  # leaves less than six blocks to follow inside
    motion = camera_motion(frames, FPS)
    assert motion["camera_zoom"] > 10
    assert motion.get("dolly_zoom", 0.0) < 5


def test_what_passes_a_handheld_camera_is_no_dolly_zoom():
    """The growth of the surroundings swings from frame to frame instead of going on."""
    rng = np.random.default_rng(0)
    zooms = np.cumprod(1 + rng.normal(0.01, 0.02, FRAMES))
    frames = video(zooms=list(1.3 * zooms / zooms.min()))
    subject = view(zoom=1.5)
    top, left = HEIGHT // 6, WIDTH // 6
    frames[:, top:-top, left:-left] = subject[top:-top, left:-left]
    assert camera_motion(frames, FPS).get("dolly_zoom", 0.0) < 10


def test_a_few_frames_that_can_be_followed_are_no_dolly_zoom():
    frames = video(zooms=[1.02**t for t in range(FRAMES)])
    subject = view(zoom=1.5)
    top, left = HEIGHT // 6, WIDTH // 6
    frames[:, top:-top, left:-left] = subject[top:-top, left:-left]
    frames[3:, top:-top, left:-left] = 128
    assert camera_motion(frames, FPS).get("dolly_zoom", 0.0) < 10


def zoom_of(growth: float, height: int) -> np.ndarray:
    """The middle rows of a zoom."""
    top = (HEIGHT - height) // 2
    return video(zooms=[growth**t for t in range(FRAMES)])[:, top : top + height].copy()


@pytest.mark.parametrize("size", [(16, 16), (32, 200), (200, 32), (8, 8)])
def test_any_size(size):
    frames = scene(1, 4, *size)
    assert all(np.isfinite(value) for value in camera_motion(frames, FPS).values())
    assert overlay_share(frames, FPS) == ({} if min(size) < 16 else {"overlay": 0.0})


def with_text(frames) -> np.ndarray:
    written = []
    for frame in frames:
        picture = Image.fromarray(frame)
        ImageDraw.Draw(picture).text((20, 170), "SAMPLE TEXT\nOVERLAY", "white", font_size=26)
        written.append(np.asarray(picture))
    return np.stack(written)


def still_camera() -> np.ndarray:
    """A still picture in which a red square passes."""
    frames = np.repeat(scene(3, 1), 12, axis=0)
    for t in range(12):
        frames[t, 100:140, 10 + 12 * t : 50 + 12 * t] = (220, 30, 30)
    return frames


def test_text_over_a_moving_picture_is_found():
    frames = scene(3, 24)
    assert overlay_share(frames, FPS)["overlay"] == 0
    assert overlay_share(with_text(frames), FPS)["overlay"] > 0.01


def test_a_still_camera_is_no_overlay():
    assert overlay_share(still_camera(), FPS)["overlay"] < 0.01


def test_text_over_a_still_picture_is_found():
    assert overlay_share(with_text(still_camera()), FPS)["overlay"] > 0.01


def test_a_fence_in_a_still_picture_is_no_text():
    frames = still_camera()
    frames[:, 160:220, 20:280:8] = 255
    frames[:, 160:220, 21:280:8] = 255
    assert overlay_share(frames, FPS)["overlay"] < 0.01


def test_one_cell_of_still_edges_is_no_overlay():
    frames = scene(3, 24)
    frames[:, 34:40, 32:48] = np.where(np.arange(16)[:, None] % 8 < 4, 255, 0)  # of its 16 rows, 6
    assert overlay_share(frames, FPS)["overlay"] == 0


def test_detectors_are_found_by_name():
    detector = load_detector("hummingbird_core.curation.stages.overlays:overlay_share")
    assert detector is overlay_share


@pytest.mark.parametrize("name", ["", "numpy", "numpy:nothing", "no_such_module:f", ":f"])
def test_a_detector_that_is_not_there(name):
    with pytest.raises(InputError, match="MODULE:FUNCTION"):
        load_detector(name)


@pytest.mark.parametrize("stage", [camera_motion, overlay_share])
def test_a_large_clip_is_not_copied(stage):
    frames = np.repeat(scene(1, 1, 360, 640), 24, axis=0)
    tracemalloc.start()
    stage(frames, FPS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * frames.nbytes
