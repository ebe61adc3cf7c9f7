"""Faults of the machine and of the file are distinguished: only the latter is an InputError."""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
from pathlib import Path

import imageio_ffmpeg
import psutil
import pytest

from hummingbird_core.errors import HummingbirdError, InputError, MissingPackageError
from hummingbird_core.video import reader
from hummingbird_core.video.ffmpeg import too_old
from hummingbird_core.video.reader import open_video

REAL = imageio_ffmpeg.get_ffmpeg_exe()
posix = pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")


def make_clip(path: Path, *options: str, size: str = "320x240", seconds: int = 4) -> Path:
    source = f"testsrc2=s={size}:r=25:d={seconds}"
    command = [REAL, "-y", "-v", "error", "-f", "lavfi", "-i", source, *options, str(path)]
    subprocess.run(command, check=True)
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clips") / "clip.mp4")


def count(path: Path) -> int:
    with open_video(path) as video:
        return sum(1 for _ in video.frames)


def fails(path: Path) -> HummingbirdError:
    with pytest.raises(HummingbirdError) as raised:
        count(path)
    assert not isinstance(raised.value, InputError)
    assert "\n" not in str(raised.value)
    return raised.value


def use(monkeypatch, script: Path, body: str) -> None:
    """Let a shell script stand in for ffmpeg."""
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(script))


@posix
@pytest.mark.parametrize("suffix", [".mp4", ".ts", ".mkv"])
def test_a_killed_ffmpeg_is_not_the_files_fault(clip, tmp_path, suffix):
    path = tmp_path / f"clip{suffix}"
    subprocess.run([REAL, "-v", "error", "-i", clip, "-c", "copy", path], check=True)
    with open_video(path) as video:
        next(video.frames)
        for child in psutil.Process().children():
            child.kill()
        with pytest.raises(HummingbirdError, match="stopped") as raised:
            list(video.frames)
    assert not isinstance(raised.value, InputError)
    assert count(path) == 100


@posix
def test_an_ffmpeg_that_dies_at_once_is_not_the_files_fault(clip, tmp_path, monkeypatch):
    use(monkeypatch, tmp_path / "ffmpeg", "kill -9 $$")
    assert "stopped" in str(fails(clip))


@posix
@pytest.mark.parametrize(
    "words", ["Cannot allocate memory", "Too many open files", "No space left on device"]
)
def test_what_ffmpeg_says_about_the_machine_is_believed(clip, tmp_path, monkeypatch, words):
    use(monkeypatch, tmp_path / "ffmpeg", f"echo 'Error opening input: {words}' >&2; exit 1")
    assert words in str(fails(clip))


@posix
def test_an_ffmpeg_that_cannot_start_is_not_the_files_fault(clip, tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "missing"))
    assert "could not start" in str(fails(clip))
    (tmp_path / "no-program").write_text("text")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "no-program"))
    assert "could not start" in str(fails(clip))


def test_no_ffmpeg_at_all_says_how_to_get_one(clip, monkeypatch):
    def missing():
        raise RuntimeError("No ffmpeg exe could be found.")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", missing)
    with pytest.raises(MissingPackageError, match="IMAGEIO_FFMPEG_EXE"):
        count(clip)


OLD = """
case "$*" in
    *-version*) echo "ffmpeg version {}";;
    *) echo "Option not found" >&2; exit 1;;
esac
"""


@posix
@pytest.mark.parametrize(
    ("version", "is_old"),
    [("4.2.2-static https://x", True), ("5.0.1", True), ("5.1", False), ("n7.1-3-gab", False)],
)
def test_an_old_ffmpeg_is_named(clip, tmp_path, monkeypatch, version, is_old):
    use(monkeypatch, tmp_path / "ffmpeg", OLD.format(version))
    assert bool(too_old()) is is_old
    if is_old:
        assert "expected 5.1 or newer" in str(fails(clip))


def test_a_temporary_folder_that_cannot_be_made_is_not_the_files_fault(clip, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    assert "TMPDIR" in str(fails(clip))


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.EACCES, errno.ESTALE])
def test_a_file_out_of_reach_for_a_moment_is_not_at_fault(clip, monkeypatch, number):
    def broken(path):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(reader, "is_cut_off", broken)
    fails(clip)


def test_a_damaged_file_stays_at_fault(clip, tmp_path):
    data = clip.read_bytes()
    transport = make_clip(tmp_path / "a.ts")
    cases = {
        "empty.mp4": b"",
        "text.mp4": b"no video" * 1000,
        "cut.mkv": make_clip(tmp_path / "a.mkv").read_bytes()[:20_000],
        "zeros.mp4": data[:1000] + bytes(len(data) - 1000),
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=name):
            count(tmp_path / name)
    with pytest.raises(InputError, match="not there"):
        count(tmp_path / "missing.mp4")
    half = transport.read_bytes()[: transport.stat().st_size // 2]
    transport.write_bytes(half)  # announces no length
    assert 20 < count(transport) < 100


@pytest.mark.parametrize(
    "name", ["2026-11-28T16:00:00.mp4", "-i.mp4", "%05d.mp4", "a\nb.mp4", "n" * 251 + ".mp4"]
)
def test_any_name_can_be_read_relative_to_its_folder(clip, tmp_path, monkeypatch, name):
    (tmp_path / name).write_bytes(clip.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert count(Path(name)) == 100
