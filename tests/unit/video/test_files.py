"""Video files: what is written comes back, and a failure leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hummingbird_core.errors import InputError, OutputError
from hummingbird_core.video import (
    read_metadata,
    read_video,
    write_contact_sheet,
    write_video,
    written_path,
)

SETTINGS = {"prompt": 'a "red" circle; déjà vu 🐦 \\ %d', "seed": 3, "guidance_scale": 7.5}
LOSSY = {".mp4": 6.0, ".gif": 12.0, ".webp": 6.0, ".png": 0.0}  # mean error on a 0..255 scale


def moving_square(frames=10, height=32, width=48) -> np.ndarray:
    video = np.full((frames, height, width, 3), 40, np.uint8)
    for t in range(frames):
        video[t, 8:20, 2 * t : 2 * t + 12] = (220, 30, 30)
    return video


@pytest.mark.parametrize("suffix", LOSSY)
def test_frames_pace_and_settings_come_back(tmp_path, suffix):
    frames = moving_square()
    path = write_video(tmp_path / f"clip{suffix}", frames, 8, SETTINGS)
    assert path == written_path(tmp_path / f"clip{suffix}")
    back = read_video(path)
    assert back.frames.shape == frames.shape
    assert back.frames.dtype == np.uint8
    assert np.abs(back.frames.astype(float) - frames).mean() <= LOSSY[suffix]
    assert back.fps == 8
    assert back.metadata == {**SETTINGS, "fps": 8}
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name]


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".png"])
def test_a_still_video_keeps_its_number_of_frames(tmp_path, suffix):
    frames = np.full((7, 16, 16, 3), 128, np.uint8)
    back = read_video(write_video(tmp_path / f"still{suffix}", frames, 24))
    assert back.frames.shape == frames.shape


@pytest.mark.parametrize("suffix", LOSSY)
def test_equal_neighbours_come_back_as_separate_frames(tmp_path, suffix):
    frames = np.repeat(moving_square(3), 3, axis=0)
    back = read_video(write_video(tmp_path / f"slow{suffix}", frames, 24))
    assert back.frames.shape == frames.shape
    assert np.abs(back.frames.astype(float) - frames).mean() <= LOSSY[suffix]


def test_one_frame_and_odd_sizes(tmp_path):
    back = read_video(write_video(tmp_path / "odd.mp4", moving_square(1, 33, 47), 8))
    assert back.frames.shape == (1, 34, 48, 3)


def test_ffmpeg_itself_finds_the_comment(tmp_path):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    path = write_video(tmp_path / "clip.mp4", moving_square(), 8, {"prompt": "a red circle"})
    log = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path)], capture_output=True, check=False
    ).stderr.decode()
    assert '{"prompt": "a red circle", "fps": 8}' in log
    assert "h264" in log
    assert "yuv420p" in log


def test_gif_pace_is_right_although_gif_counts_hundredths(tmp_path):
    path = write_video(tmp_path / "clip.gif", moving_square(16), 8)
    with Image.open(path) as image:
        total = 0
        for index in range(image.n_frames):
            image.seek(index)
            total += image.info["duration"]
    assert total == 2000


def test_contact_sheet_layout_and_settings(tmp_path):
    frames = moving_square(5)
    path = write_contact_sheet(tmp_path / "sheet.png", frames, columns=3, metadata=SETTINGS)
    sheet = np.asarray(Image.open(path))
    assert sheet.shape == (2 * 32, 3 * 48, 3)
    assert (sheet[32:, 48:96] == frames[4]).all()
    assert not sheet[32:, 96:].any()
    assert read_metadata(path) == SETTINGS


def test_a_foreign_comment_is_text(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.gif", comment=b"made by hand")
    assert read_metadata(tmp_path / "a.gif") == {"comment": "made by hand"}


def test_a_shorter_frame_folder_replaces_a_longer_one(tmp_path):
    write_video(tmp_path / "clip.png", moving_square(9), 8)
    folder = write_video(tmp_path / "clip.png", moving_square(4), 8)
    assert len(list(folder.iterdir())) == 4


def test_a_folder_with_other_files_is_never_replaced(tmp_path):
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="choose another output name"):
        write_video(tmp_path / "clip.png", moving_square(), 8)
    assert [p.name for p in tmp_path.rglob("*")] == ["clip", "thesis.txt"]


@pytest.mark.parametrize("name", ["clip", "clip.avi", "clip.mp4.part"])
def test_unknown_suffix(tmp_path, name):
    with pytest.raises(OutputError, match=r"expected one of \.mp4, \.gif, \.webp, \.png"):
        write_video(tmp_path / name, moving_square(), 8)


@pytest.mark.parametrize(
    "frames",
    [np.zeros((2, 8, 8, 3)), np.zeros((8, 8, 3), np.uint8), np.zeros((0, 8, 8, 3), np.uint8)],
)
def test_frames_of_the_wrong_kind(tmp_path, frames):
    with pytest.raises(InputError, match=r"expected uint8 \[T,H,W,3\]"):
        write_video(tmp_path / "clip.mp4", frames, 8)


@pytest.mark.parametrize("fps", [0, -1, float("nan")])
def test_fps_must_be_positive(tmp_path, fps):
    with pytest.raises(InputError, match="fps"):
        write_video(tmp_path / "clip.mp4", moving_square(), fps)


@pytest.mark.parametrize("suffix", LOSSY)
def test_output_below_a_file_cannot_be_written(tmp_path, suffix):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError, match="cannot write"):
        write_video(tmp_path / "file" / f"clip{suffix}", moving_square(), 8)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["cut.mp4", "noise.mp4", "noise.gif", "noise.webp", "gone.mp4"])
def test_unreadable_videos(tmp_path, name):
    if name == "cut.mp4":
        whole = write_video(tmp_path / "whole.mp4", moving_square(), 8).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    elif name != "gone.mp4":
        (tmp_path / name).write_bytes(os.urandom(500))
    with pytest.raises(InputError) as error:
        read_video(tmp_path / name)
    assert "\n" not in str(error.value)
    assert name in str(error.value)


def test_a_folder_without_frames(tmp_path):
    with pytest.raises(InputError, match="holds no frames"):
        read_video(tmp_path)


CHILD = """
import json, sys
import numpy as np
from hummingbird_core.errors import OutputError
from hummingbird_core.video import write_video
path, frames, limit = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
if limit:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
video = np.random.default_rng(0).integers(0, 256, (frames, 128, 128, 3), dtype=np.uint8)
print("ready", flush=True)
try:
    write_video(path, video, 8, {"prompt": "noise"})
except OutputError as error:
    print(json.dumps(str(error)))
"""


@pytest.mark.skipif(
    os.name == "nt", reason="Windows has no file size limit to stand for a full disk"
)
@pytest.mark.parametrize("suffix", LOSSY)
def test_a_full_disk_leaves_nothing(tmp_path, suffix):
    old = tmp_path / f"clip{suffix}"
    if suffix != ".png":
        old.write_text("the previous video")
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(old), "16", "20000"],
        capture_output=True,
        text=True,
        check=False,
    )
    message = json.loads(child.stdout.splitlines()[1])
    assert str(tmp_path) in message
    assert "\n" not in message
    if suffix == ".png":
        assert not list(tmp_path.iterdir())
    else:
        assert [p.read_text() for p in tmp_path.iterdir()] == ["the previous video"]


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot send Ctrl-C to one child only")
@pytest.mark.parametrize("suffix", LOSSY)
def test_ctrl_c_leaves_nothing(tmp_path, suffix):
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path / f"clip{suffix}"), "600", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    _wait_for(lambda: any(tmp_path.iterdir()), child)
    stderr = _press_ctrl_c(child)
    assert "KeyboardInterrupt" in stderr
    assert not list(tmp_path.iterdir())


def _press_ctrl_c(child) -> str:
    """Interrupt until it ends: Python drops an interrupt that arrives inside a destructor."""
    for _ in range(30):
        child.send_signal(signal.SIGINT)
        try:
            return child.communicate(timeout=1)[1].decode()
        except subprocess.TimeoutExpired:
            continue
    child.kill()
    pytest.fail("the child goes on after 30 interrupts")


def _wait_for(condition, child) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert child.poll() is None, child.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_written_path_is_what_write_video_returns(tmp_path):
    assert written_path("a/b.png") == Path("a/b")
    assert written_path("a/b.MP4") == Path("a/b.MP4")
