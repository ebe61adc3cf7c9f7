"""Files appear whole or not at all."""

import errno
import os
import re
import subprocess
import sys

import pytest
from safetensors import SafetensorError
from support.paths import ROOT

from hummingbird_core.errors import InputError, OutputError
from hummingbird_core.files import (
    atomic_write,
    check_destination,
    remove_leftovers,
    temporary_path,
)


def test_a_file_appears_under_its_name_when_it_is_complete(tmp_path):
    path = tmp_path / "new folder" / "clip.mp4"
    with atomic_write(path) as temporary:
        temporary.write_bytes(b"all of it")
        assert not path.exists()
        assert temporary.parent == path.parent
        assert temporary.suffix == ".mp4"
    assert [file.read_bytes() for file in path.parent.iterdir()] == [b"all of it"]


def fail_after_half(path, error, *, as_folder=False):
    with atomic_write(path) as temporary:
        if as_folder:
            temporary.mkdir()
        (temporary / "00000.png" if as_folder else temporary).write_text("half")
        raise error


def test_an_interrupted_write_leaves_the_older_file(tmp_path):
    path = tmp_path / "losses.jsonl"
    path.write_text("older")
    with pytest.raises(KeyboardInterrupt):
        fail_after_half(path, KeyboardInterrupt)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["older"]


def test_a_half_written_folder_is_removed(tmp_path):
    with pytest.raises(InputError, match="bad frame"):
        fail_after_half(tmp_path / "clip", InputError("bad frame"), as_folder=True)
    assert not list(tmp_path.iterdir())


def test_a_refused_write_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OutputError, match=r"cannot write .*choose another folder"):
        fail_after_half(tmp_path / "file" / "clip.mp4", InputError("never reached"))


# names


@pytest.mark.parametrize(
    "name",
    [
        "n" * 251 + ".mp4",
        "n" * 255,
        "雪" * 83 + ".json",
        "a." + "s" * 253,
        "2026-11-28T16:00:00.mp4",
        "-i.mp4",
        "%05d.png",
        "a b\n'\"\\.webp",
        ".hidden",
        "x",
    ],
)
def test_every_legal_name_can_be_written(tmp_path, name):
    with atomic_write(tmp_path / name) as temporary:
        assert re.fullmatch(r"\.[a-z2-7]{24}(\.\w{1,15})?", temporary.name)
        assert len(temporary.name) <= max(len(os.fsencode(name)), 40)
        temporary.write_text("all of it")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_name_that_is_too_long_gives_one_line_before_the_work(tmp_path):
    for name in ("n" * 300, "雪" * 90, "a/" + "b" * 256):
        with pytest.raises(OutputError, match="too long for this file system") as raised:
            check_destination(tmp_path / name, overwrite=True)
        assert len(str(raised.value)) < 300
    with pytest.raises(OutputError, match="rename it"):
        check_destination(tmp_path / "a\0b", overwrite=True)


# what killed runs leave

WRITE_AND_DIE = """
import os, sys
from pathlib import Path
from hummingbird_core.files import atomic_write
with atomic_write(Path(sys.argv[1])) as temporary:
    if sys.argv[2] == "folder":
        temporary.mkdir()
        (temporary / "00000.png").write_text("half")
    else:
        temporary.write_text("half")
    os._exit(9)
"""


def die_writing(path, kind="file"):
    subprocess.run([sys.executable, "-c", WRITE_AND_DIE, str(path), kind], cwd=ROOT, check=False)


def test_the_next_run_removes_what_a_killed_one_left(tmp_path):
    for name, kind in (("a.mp4", "file"), ("b.json", "file"), ("frames", "folder")):
        die_writing(tmp_path / name, kind)
        assert len(list(tmp_path.iterdir())) == 1  # the latest
    with atomic_write(tmp_path / "a.mp4") as temporary:
        temporary.write_text("all of it")
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_what_others_write_stays(tmp_path):
    with atomic_write(tmp_path / "a") as living:
        living.write_text("half")
        names = [".hidden", ".abc.mp4", ".0123456701234567012345670.mp4", "clip.partial"]
        for name in names:
            (tmp_path / name).write_text("not ours")
        remove_leftovers(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {*names, living.name}
    remove_leftovers(tmp_path / "missing")


def test_a_file_of_another_machine_is_kept_for_a_day(tmp_path, monkeypatch):
    monkeypatch.setattr("hummingbird_core.files._host", lambda: b"abc")
    foreign = temporary_path(tmp_path / "a.mp4")
    foreign.write_text("half")
    monkeypatch.undo()
    remove_leftovers(tmp_path)
    assert foreign.exists()
    os.utime(foreign, (1e9, 1e9))
    remove_leftovers(tmp_path)
    assert not foreign.exists()


def test_under_a_lock_everything_unfinished_is_left_over(tmp_path):
    temporary_path(tmp_path / "a.mp4").write_text("half")
    remove_leftovers(tmp_path, locked=True)
    assert not list(tmp_path.iterdir())


# full and broken disks


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "x"), "the disk is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "quota"),
        (OSError(errno.EROFS, "Read-only file system"), "read-only"),
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (RuntimeError("[enforce fail] . PytorchStreamWriter failed writing file"), "disk is full"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "disk is full"),
    ],
)
def test_a_full_disk_gives_one_line_whichever_library_says_it(tmp_path, error, advice):
    path = tmp_path / "state.pt"
    path.write_text("older")
    with pytest.raises(OutputError, match=f"cannot write .*state.pt: .*{advice}"):
        fail_after_half(path, error)
    assert path.read_text() == "older"


def test_a_bug_inside_stays_a_bug(tmp_path):
    with pytest.raises(RuntimeError, match="shapes differ"):
        fail_after_half(tmp_path / "x", RuntimeError("shapes differ"))
