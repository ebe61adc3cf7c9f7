"""Sources as people have them: an item costs itself only, and nothing is dropped in silence."""

from __future__ import annotations

import os
import tarfile

import pytest
from support.command_line import error_of
from support.source_files import captions_of, folder_of, shard_of

from hummingbird_core.curation.shard_sources import find_partners
from hummingbird_core.curation.sources import list_sources
from hummingbird_core.errors import InputError

POSIX = pytest.mark.skipif(os.name == "nt", reason="POSIX file systems only")


# captions beside videos


def test_captions_in_other_encodings_are_read_or_refused_by_name(tmp_path):
    texts = {
        "utf-16": ("a fox runs through snow", "utf-16"),
        "utf-8": ("лиса", "utf-8-sig"),
        "cp1251": ("лиса бежит по снегу", "cp1251"),
        "cp932": ("雪の中を走る狐", "cp932"),
        "unmarked": ("a fox", "utf-16-le"),
    }
    for name, (text, encoding) in texts.items():
        folder_of(tmp_path, {f"{name}.mp4": "x", f"{name}.txt": text.encode(encoding)})
    found = captions_of(tmp_path)
    assert found["utf-16.mp4"] == "a fox runs through snow"
    assert found["utf-8.mp4"] == "лиса"
    for name in ("cp1251", "cp932", "unmarked"):
        assert found[f"{name}.mp4"].startswith(f"{name}.txt ")
        assert "save it as UTF-8" in found[f"{name}.mp4"]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("b.json", "[" * 100_000, "nested too deeply"),
        ("b.json", '{"caption": "a fox"', "not JSON"),
        ("b.json", '{"caption": 5}', "has 5 as caption, expected text"),
        ("b.json", '{"caption": ["a", "b"]}', "has list as caption"),
        ("b.json", '{"caption": "\\ud83d"}', "half a surrogate pair"),
        ("b.json", '{"caption": "a", "caption": "b"}', "twice"),
        ("b.txt", "x" * (1 << 20) + "y", "larger than 1,048,576 bytes"),
        ("b.txt", "\x1b$B@c\x1b(B", "escape characters"),
    ],
)
def test_an_odd_caption_costs_its_video_only(tmp_path, name, content, reason):
    found = captions_of(
        folder_of(tmp_path, {"a.mp4": "x", "a.txt": "a fox", "b.mp4": "x", name: content})
    )
    assert found["a.mp4"] == "a fox"
    assert found["b.mp4"].startswith(name)
    assert reason in found["b.mp4"]


@POSIX
def test_a_caption_that_is_no_file_costs_its_video_only(tmp_path):
    folder_of(tmp_path, {f"{name}.mp4": "x" for name in ("a", "pipe", "folder", "link")})
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "folder.txt").mkdir()
    (tmp_path / "link.json").symlink_to("missing")
    assert captions_of(tmp_path) == {
        "a.mp4": "",
        "folder.mp4": "folder.txt is a folder",
        "link.mp4": "link.json is a broken link",
        "pipe.mp4": "pipe.txt is no regular file",
    }


def test_suffixes_of_captions_in_any_case(tmp_path):
    folder_of(tmp_path, {"a.MP4": "x", "a.TXT": "a fox", "b.mp4": "x", "b.Json": '{"Text": "b"}'})
    assert captions_of(tmp_path) == {"a.MP4": "a fox", "b.mp4": "b"}


def test_a_mended_caption_makes_another_entry_of_the_journal(tmp_path):
    folder_of(tmp_path, {"a.mp4": "x", "b.mp4": "x", "b.txt": b"\xe9"})
    before = {video.name: video.cache_key() for video in list_sources(tmp_path)}
    (tmp_path / "b.txt").write_text("mended")
    after = {video.name: video.cache_key() for video in list_sources(tmp_path)}
    assert before["a.mp4"] == after["a.mp4"]
    assert before["b.mp4"] != after["b.mp4"]


def test_a_source_without_a_usable_video_says_why(tmp_path):
    folder_of(tmp_path, {"a.mp4": "x", "a.txt": b"\xe9", "b.mp4": "x", "b.txt": b"\xe9"})
    with pytest.raises(InputError, match=r"no usable video in .*a\.txt is not UTF-8.*and 1 more"):
        list_sources(tmp_path)


# folders


@POSIX
def test_folders_behind_links_are_listed_once(tmp_path):
    folder_of(tmp_path, {"real/a.mp4": "x", "real/a.txt": "a fox"})
    (tmp_path / "data").mkdir()
    for name in ("part1", "part2"):
        (tmp_path / "data" / name).symlink_to("../real")
    (tmp_path / "data" / "gone.mp4").symlink_to("missing.mp4")
    assert captions_of(tmp_path / "data") == {
        "part1/a.mp4": "a fox",
        "gone.mp4": "gone.mp4 is a broken link",
    }


def test_packed_files_are_named(tmp_path, caplog):
    folder_of(tmp_path, {"a.mp4": "x", "clips-0.tar.gz": "x", "clips-1.tar.gz": "x"})
    assert list(captions_of(tmp_path)) == ["a.mp4"]
    assert "unpack them: clips-0.tar.gz, clips-1.tar.gz" in caplog.text


@pytest.mark.parametrize("name", ["n" * 300, "nul\0.csv", "half\ud800"])
def test_a_source_that_no_file_can_be(tmp_path, name):
    with pytest.raises(InputError, match="that exists"):
        list_sources(tmp_path / name)


# shards


def test_dots_in_names_of_samples(tmp_path, caplog):
    members = {}
    for key in ("vid_12.5_20.0", "vid_12.7_30.0", "clip.v2", "plain", "sub.d/a.b"):
        members |= {f"{key}.mp4": "x", f"{key}.txt": f"caption of {key}"}
    members |= {"k2.video.mp4": "x", "k2.caption.txt": "caption of k2"}
    members |= {"k3.left.mp4": "x", "k3.right.mp4": "x", "k3.json": '{"caption": "caption of k3"}'}
    members |= {"._plain.mp4": "of macOS", "alone.txt": "of no video"}
    found = captions_of(shard_of(tmp_path / "s.tar", members))
    stems = ("vid_12.5_20.0", "vid_12.7_30.0", "clip.v2", "plain", "sub.d/a.b")
    assert found == {f"s.tar/{stem}.mp4": f"caption of {stem}" for stem in stems} | {
        "s.tar/k2.video.mp4": "caption of k2",
        "s.tar/k3.left.mp4": "caption of k3",
        "s.tar/k3.right.mp4": "caption of k3",
    }
    assert "captions that belong to no video: s.tar/alone" in caplog.text


def test_a_caption_is_never_that_of_another_sample():
    assert find_partners({"a.5", "b.x"}, {"a.6", "b.y", "b.z"}) == {}
    assert find_partners({"john.smith", "john.doe"}, {"john.smith"}) == {"john.smith": "john.smith"}


def test_members_of_the_same_name_are_named(tmp_path, caplog):
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for _ in range(2):
            tar.addfile(tarfile.TarInfo("a.mp4"))
    assert list(captions_of(tmp_path / "s.tar")) == ["s.tar/a.mp4"]
    assert "of the same name, of which the first counts: s.tar/a.mp4" in caplog.text


def test_an_odd_caption_in_a_shard_costs_its_video_only(tmp_path):
    members = {"a.mp4": "x", "a.json": "[" * 9999, "b.mp4": "x", "b.txt": "a fox"}
    members |= {"c.mp4": "x", "c.txt": "x" * (1 << 21), "d.mp4": "x", "d.txt": "x", "d.json": "{"}
    found = captions_of(shard_of(tmp_path / "s.tar", members))
    assert "a.json is JSON that is nested too deeply" in found["s.tar/a.mp4"]
    assert found["s.tar/b.mp4"] == "a fox"
    assert "c.txt has 2,097,152 bytes" in found["s.tar/c.mp4"]
    assert found["s.tar/d.mp4"] == "x"  # the first caption counts, the other is not needed


def test_an_unusable_video_in_a_shard_is_named_as_in_the_shard(tmp_path):
    (video,) = list_sources(shard_of(tmp_path / "s.tar", {"clips/fox.mp4": "x"}))
    with pytest.raises(InputError, match=r"^fox\.mp4 is broken"), video.on_disk() as path:
        raise InputError(f"{path.name} is broken")


# outputs


@POSIX
def test_a_link_into_the_output_is_refused(tmp_path, capsys):
    folder_of(tmp_path, {"out/clips/aa/a.mp4": "x", "data/b.mp4": "x"})
    (tmp_path / "data" / "link").symlink_to("../out/clips")
    line = error_of(capsys, "curate", tmp_path / "data", "-o", tmp_path / "out")
    assert "inside the output" in line
