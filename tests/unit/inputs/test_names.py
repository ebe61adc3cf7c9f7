"""The door of names: links are followed once, and a name that leads nowhere is refused."""

from __future__ import annotations

import os

import pytest

from hummingbird_core.errors import InputError
from hummingbird_core.inputs.names import kind_of, listed_path, walk

NEEDS_LINKS = pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")


def listed(root) -> list[str]:
    return [file.relative_to(root).as_posix() for folder in walk(root) for file in folder.files]


@NEEDS_LINKS
def test_links_to_folders_are_followed_once(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.mp4").touch()
    root = tmp_path / "data"
    (root / "real").mkdir(parents=True)
    (root / "real" / "b.mp4").touch()
    for name, target in {
        "1-link": "../elsewhere",
        "2-again": "../elsewhere",
        "3-inside": "real",  # the file keeps its real name
        "4-loop": ".",
        "real/5-up": "..",
    }.items():
        (root / name).symlink_to(target)
    (root / "c.mp4").symlink_to("real/b.mp4")
    assert sorted(listed(root)) == ["1-link/a.mp4", "c.mp4", "real/b.mp4"]
    (tmp_path / "link").symlink_to("data")
    assert len(listed(tmp_path / "link")) == 3


@NEEDS_LINKS
def test_what_cannot_be_read_has_a_reason(tmp_path):
    (tmp_path / "gone.mp4").symlink_to("missing.mp4")
    (tmp_path / "self.mp4").symlink_to("self.mp4")
    (tmp_path / ".hidden.mp4").touch()
    os.mkfifo(tmp_path / "pipe.mp4")
    (folder,) = walk(tmp_path)
    assert {path.name: reason for path, reason in folder.unusable.items()} == {
        "gone.mp4": "is a broken link",
        "self.mp4": "is a broken link",
        "pipe.mp4": "is no regular file",
    }
    assert not folder.files


def test_a_folder_that_is_missing_has_a_reason(tmp_path):
    (folder,) = walk(tmp_path / "missing")
    assert "cannot be read" in folder.unusable[tmp_path / "missing"]


@pytest.mark.parametrize("name", ["missing", "n" * 300, "nul\0", "half\ud800"])
def test_a_name_that_no_file_has_leads_nowhere(tmp_path, name):
    assert kind_of(tmp_path / name) == "missing"


def test_listed_paths_are_relative_to_the_list(tmp_path):
    assert listed_path(tmp_path, "sub/a.mp4") == tmp_path / "sub" / "a.mp4"
    assert listed_path(tmp_path, "a ü.mp4".encode()) == tmp_path / "a ü.mp4"
    assert listed_path(tmp_path, str(tmp_path.parent)) == tmp_path.parent


@pytest.mark.parametrize(
    "value", ["a\0.mp4", "a\ud83d.mp4", "x" * 5000, b"\xff", 3, None, True, [], {"a": 1}, 1e400]
)
def test_what_is_no_path_is_refused_in_one_line(tmp_path, value):
    with pytest.raises(InputError) as error:
        listed_path(tmp_path, value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("value", ["https://example.com/a.mp4", "s3://bucket/a.mp4", "FILE:///a"])
def test_an_address_is_no_path(tmp_path, value):
    with pytest.raises(InputError, match=r"has the address .*, expected a path: download the file"):
        listed_path(tmp_path, value)
