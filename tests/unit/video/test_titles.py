"""Texts in a video file, which ffmpeg's log repeats, are never read as its header."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import imageio_ffmpeg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hummingbird_core.errors import InputError
from hummingbird_core.video import read_video
from hummingbird_core.video.reader import open_video


def ffmpeg(*arguments: str | Path) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *map(str, arguments)]
    subprocess.run(command, check=True)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """Two seconds, 160 x 120, 25 frames a second."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=160x120:r=25:d=2", path)
    return path


DURATION = "Duration: 99:00:00.00, start: 0.0, bitrate: 1 kb/s"
STREAM = "Stream #0:0: Video: rawvideo (RGB[24]), rgb24, 16x16, q=2-31, 1 kb/s, 3 fps, 3 tbn"
OUTPUT = "Output #0, image2pipe, to 'pipe:'"


def tagged(clip: Path, path: Path, **tags: str) -> Path:
    """A copy with texts in its metadata; keys may be any text in mkv."""
    pairs = [part for key, text in tags.items() for part in ("-metadata", f"{key}={text}")]
    ffmpeg("-i", clip, "-c", "copy", "-movflags", "use_metadata_tags", *pairs, path)
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
@pytest.mark.parametrize(
    "text",
    [
        *(DURATION, STREAM, OUTPUT, f"x\n{DURATION}", f"x\r\n  {STREAM}\r\n{OUTPUT}\r\n{STREAM}"),
        *("rotate : 90", f"{OUTPUT}\n    {STREAM}", "ffmpeg version 1 Copyright", "Audio: 1, 2"),
        "Duration: N/A, bitrate: N/A",
    ],
)
def test_a_title_is_no_header(clip, tmp_path, suffix, text):
    path = tagged(clip, tmp_path / f"title{suffix}", title=text, comment=text, artist=text)
    with open_video(path) as video:
        count = sum(1 for _ in video.frames)
    assert (count, video.fps, video.width, video.height) == (50, 25, 160, 120)
    assert video.duration == pytest.approx(2, abs=0.05)
    assert read_video(path).fps == 25


def read_or_refuse(path: Path) -> list | str:
    """Number and shape of the frames, rate and length; or the reason why it is refused."""
    try:
        with open_video(path) as video:
            frames = list(video.frames)
    except InputError as error:
        return str(error)
    return [len(frames), frames[0].shape, video.fps, round(video.duration, 1)]


@pytest.mark.parametrize("key", ["Duration: 99:00:00.00, x", STREAM, OUTPUT, "a\nDuration: 9"])
def test_the_name_of_a_tag_is_no_header(clip, tmp_path, key):
    path = tagged(clip, tmp_path / "key.mkv", **{key.replace("=", ":"): "x", "title": STREAM})
    assert read_or_refuse(path) == [50, (120, 160, 3), 25, 2]


@pytest.mark.skipif(os.name == "nt", reason="Windows allows no such names")
@pytest.mark.parametrize("name", [DURATION, f"a\n{DURATION}\n", f"a\n{OUTPUT}\n{STREAM}\n"])
def test_the_name_of_a_file_is_no_header(clip, tmp_path, name):
    path = tmp_path / f"{name.replace('/', ' ')}.mp4"
    path.write_bytes(clip.read_bytes())
    found = read_or_refuse(path)
    if isinstance(found, str):  # the log cannot be understood: refused, not misread
        assert found.isprintable()
    else:
        assert found == [50, (120, 160, 3), 25, 2]


@pytest.mark.parametrize(("rate", "fps"), [("30000/1001", 29.97003), ("1000", 1000), ("1/2", 0.5)])
def test_a_rate_is_that_of_the_container(tmp_path, rate, fps):
    path = tmp_path / "rate.mp4"
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=s=32x32:r={rate}", "-frames:v", "3", path)
    with open_video(path) as video:
        assert video.fps == pytest.approx(fps)
        assert len(list(video.frames)) == 3


@settings(deadline=None, max_examples=15)
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=200))
def test_no_text_in_a_title_is_a_header(clip, text):
    with tempfile.TemporaryDirectory() as folder:
        for suffix in (".mp4", ".mkv"):
            path = tagged(clip, Path(folder) / f"title{suffix}", title=f"{text}\n{DURATION}{text}")
            assert read_or_refuse(path) == [50, (120, 160, 3), 25, 2]
