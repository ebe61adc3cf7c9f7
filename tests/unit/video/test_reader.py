"""Streamed reading: frames, rate, rotation, and files that are broken in every way."""

from __future__ import annotations

import os
import subprocess
from itertools import islice
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from hummingbird_core.errors import InputError
from hummingbird_core.video import read_metadata, read_video, write_video
from hummingbird_core.video.reader import open_video


def ffmpeg(*arguments: str | Path) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *map(str, arguments)]
    subprocess.run(command, check=True)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """Two seconds, 160 x 120, 25 frames a second."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    source = ("-f", "lavfi", "-i", "testsrc2=s=160x120:r=25:d=2")
    ffmpeg(*source, "-movflags", "+faststart", path)
    return path


def test_frames_equal_those_read_at_once(clip):
    with open_video(clip) as video:
        frames = np.stack(list(video.frames))
    assert (video.fps, video.width, video.height, video.duration) == (25, 160, 120, 2)
    assert (frames == read_video(clip).frames).all()


def test_every_third_frame_up_to_a_number(clip):
    with open_video(clip) as video:
        everything = list(video.frames)
    with open_video(clip, every=3, max_frames=4) as video:
        some = np.stack(list(video.frames))
    assert video.fps == pytest.approx(25 / 3)
    assert (some == np.stack(everything[0:12:3])).all()


def test_a_reader_may_stop_early(clip):
    with open_video(clip) as video:
        assert len(list(islice(video.frames, 3))) == 3


def test_a_rotated_video_is_upright(clip, tmp_path):
    ffmpeg("-display_rotation", "90", "-i", clip, "-c", "copy", tmp_path / "turned.mp4")
    with open_video(tmp_path / "turned.mp4") as video:
        assert next(video.frames).shape == (160, 120, 3)
        assert (video.height, video.width) == (160, 120)


def test_a_variable_rate_gives_the_stored_frames_once(clip, tmp_path):
    path = tmp_path / "variable.mp4"
    keep = "select='lt(n,10)+not(mod(n,5))'"  # 10 frames, then every fifth of 40
    ffmpeg("-i", clip, "-vf", keep, "-fps_mode", "vfr", path)
    with open_video(path) as video:
        assert len(list(video.frames)) == 18
    assert video.fps < 25


@pytest.mark.parametrize("suffix", [".gif", ".png"])
def test_other_formats(tmp_path, suffix):
    frames = np.random.default_rng(0).integers(0, 256, (3, 16, 24, 3), dtype=np.uint8)
    path = write_video(tmp_path / f"clip{suffix}", frames, 10)
    with open_video(path) as video:
        assert np.stack(list(video.frames)).shape == frames.shape
    assert video.fps == 10


def still_for_long(path: Path, milliseconds: int = 655_350) -> Path:
    """Two pictures in two kilobytes, shown for 10 ms and for eleven minutes."""
    pictures = [Image.new("RGB", (640, 480), colour) for colour in ("red", "blue")]
    pictures[0].save(
        path, save_all=True, append_images=pictures[1:], duration=[10, milliseconds], loop=0
    )
    assert path.stat().st_size < 4000
    return path


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_a_picture_of_an_animation_lasts_a_minute_at_most(tmp_path, suffix):
    with open_video(still_for_long(tmp_path / f"long{suffix}")) as video:
        assert (video.fps, video.duration) == (100, 60.01)
        frames = [frame[0, 0].argmax() for frame in video.frames]
    assert frames == [0] + [2] * 6000


def test_an_animation_too_large_for_memory_is_refused_when_read_at_once(tmp_path):
    with pytest.raises(InputError, match="6001 frames of 640x480"):
        read_video(still_for_long(tmp_path / "long.gif"))
    assert len(read_video(still_for_long(tmp_path / "short.gif", 100)).frames) == 11


def test_an_animation_with_a_hostile_size_is_refused(tmp_path):
    path = still_for_long(tmp_path / "huge.gif")
    data = bytearray(path.read_bytes())
    data[6:10] = b"\xff\xff\xff\xff"  # 65535 x 65535
    path.write_bytes(data)
    for read in (read_video, read_metadata):
        with pytest.raises(InputError, match=r"huge\.gif"):
            read(path)
    with pytest.raises(InputError, match=r"huge\.gif"), open_video(path):
        pass


def test_what_goes_wrong_outside_is_not_the_animations_fault(tmp_path):
    path = still_for_long(tmp_path / "long.gif")
    with pytest.raises(ValueError, match="mine") as caught, open_video(path):
        raise ValueError("mine")
    assert not isinstance(caught.value, InputError)


def broken_file(kind: str, clip: Path, folder: Path) -> Path:
    path = folder / f"{kind}.mp4"
    if kind == "sound":
        ffmpeg("-f", "lavfi", "-i", "sine=d=1", path)
    elif kind == "truncated":
        path.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("this is not a video\n" * 100)
    elif kind == "playlist":
        path = path.with_suffix(".avi")  # no box structure is looked for in it
        path.write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
    return path


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("sound", "no video stream"),
        ("truncated", "truncated"),
        ("empty", "is empty"),
        ("text", "no video"),
        ("playlist", "cannot be decoded"),
        ("missing", "is not there"),
    ],
)
def test_broken_files_are_named_in_one_line(kind, reason, clip, tmp_path):
    path = broken_file(kind, clip, tmp_path)
    with pytest.raises(InputError, match=reason) as caught, open_video(path) as video:
        list(video.frames)
    assert str(caught.value).startswith(path.name)
    assert "\n" not in str(caught.value)


def with_sound(clip: Path, path: Path, seconds: int) -> Path:
    """The two seconds of `clip` in another format, with a tone of another length."""
    ffmpeg("-i", clip, "-f", "lavfi", "-i", f"sine=d={seconds}", "-map", "0", "-map", "1", path)
    return path


@pytest.mark.parametrize("damage", ["cut", "noise"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".avi", ".flv"])
def test_a_file_whose_second_half_is_missing_is_refused(clip, tmp_path, suffix, damage):
    whole, path = clip, tmp_path / f"half{suffix}"
    if suffix != clip.suffix:  # of the mp4, the index must stay whole: it is at the beginning
        whole = with_sound(clip, tmp_path / f"whole{suffix}", 2)
    data = whole.read_bytes()
    half = len(data) // 2
    noise = np.random.default_rng(0).bytes(len(data) - half)
    path.write_bytes(data[:half] + (noise if damage == "noise" else b""))
    with (
        pytest.raises(InputError, match=r"half\.\w+ is truncated or") as caught,
        open_video(path) as video,
    ):
        list(video.frames)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.name == "nt", reason="Windows does not let an open file be deleted")
def test_a_file_that_goes_away_before_it_is_read_once_more(clip, tmp_path):
    whole = with_sound(clip, tmp_path / "whole.mkv", 2).read_bytes()
    path = tmp_path / "half.mkv"
    path.write_bytes(whole[: len(whole) // 2])
    with open_video(path) as video:
        next(video.frames)
        path.unlink()
        with pytest.raises(InputError, match=r"half\.mkv cannot be decoded as a video"):
            list(video.frames)


@pytest.mark.parametrize("seconds", [1, 5])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".avi", ".flv"])
def test_sound_of_another_length_is_no_damage(clip, tmp_path, suffix, seconds):
    with open_video(with_sound(clip, tmp_path / f"sound{suffix}", seconds)) as video:
        assert len(list(video.frames)) == 50


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_a_variable_rate_is_no_damage(clip, tmp_path, suffix):
    path = tmp_path / f"variable{suffix}"
    ffmpeg("-i", clip, "-vf", "select='lt(n,20)+not(mod(n,10))'", "-fps_mode", "vfr", path)
    with open_video(path) as video:
        assert len(list(video.frames)) == 23


def test_what_is_not_read_to_its_end_is_not_checked(clip, tmp_path):
    data = with_sound(clip, tmp_path / "whole.mkv", 2).read_bytes()
    (tmp_path / "half.mkv").write_bytes(data[: len(data) // 2])
    with open_video(tmp_path / "half.mkv", max_frames=5) as video:
        assert len(list(video.frames)) == 5


def test_a_step_of_zero_is_refused(clip):
    with pytest.raises(InputError, match="every=0"), open_video(clip, every=0):
        pass
