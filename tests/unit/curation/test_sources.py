"""Sources of videos: every kind gives the same videos with the same captions."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tarfile

import pytest

from hummingbird_core.curation.caption_text import clean_caption
from hummingbird_core.curation.sources import list_sources
from hummingbird_core.errors import InputError

pyarrow = pytest.importorskip("pyarrow", reason="needs the extra curate")

CLIPS = {"a.mp4": "a fox", "sub/b.webm": "a bird\non a wire"}


def make_folder(folder):
    for name, caption in CLIPS.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
        path.with_suffix(".txt").write_text(caption, encoding="utf-8")
    return folder


def make_tar(path):
    members = {}
    for name, caption in CLIPS.items():
        members |= {name: name, f"{name.rpartition('.')[0]}.txt": caption}
    return write_tar(path, members)


def write_tar(path, members):
    with tarfile.open(path, "w") as tar:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return path


def contents(sources) -> dict[str, tuple[str, bytes]]:
    """name -> caption and bytes, read the way the stages read them."""
    found = {}
    for source in sources:
        with source.on_disk() as path:
            found[source.name] = (source.caption, path.read_bytes())
    return found


EXPECTED = {
    "a.mp4": ("a fox", b"a.mp4"),
    "sub/b.webm": ("a bird on a wire", b"sub/b.webm"),
}


def test_a_folder(tmp_path):
    (make_folder(tmp_path) / "notes.md").write_text("no video")
    assert contents(list_sources(tmp_path)) == EXPECTED


def test_hidden_files_are_no_videos(tmp_path):
    folder = make_folder(tmp_path)
    expected = contents(list_sources(folder))
    (folder / "._a.mp4").write_bytes(b"of macOS")
    (folder / ".12345678-b.mp4").write_bytes(b"half-written")
    assert contents(list_sources(folder)) == expected


def test_a_caption_in_json(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"x")
    (tmp_path / "a.json").write_text(json.dumps({"text": "a fox", "width": 3}))
    (source,) = list_sources(tmp_path)
    assert source.caption == "a fox"


EVENTS = [{"start": 0, "end": 2.5, "text": "a fox runs"}, {"start": 2.5, "text": "it sleeps"}]
STORY = "0s: a fox runs; 2.5s: it sleeps"


def test_events_with_times_in_files(tmp_path):
    files = {
        "a.json": json.dumps({"captions": EVENTS}),
        "b.json": json.dumps({"caption": "snow", "captions": [{**EVENTS[0], "start": 1}]}),
        "c.json": json.dumps({"caption": "a fox", "captions": ["other", "programs"]}),
        "d.txt": "0s: a fox runs\n2.5s: it  sleeps\n",
        "e.txt": "0: a fox, 24: it sleeps",
        "f.json": json.dumps({"captions": [{"start": 0}]}),
        "g.txt": "0: a fox\nruns",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).with_suffix(".mp4").write_bytes(b"x")
    found = {source.name[0]: source for source in list_sources(tmp_path)}
    captions = {name: source.caption for name, source in found.items() if not source.error}
    middle = "0s: snow; 1s: a fox runs; 2.5s: snow"
    whole = {"a": STORY, "b": middle, "c": "a fox", "d": STORY, "g": "0: a fox runs"}
    assert captions == whole
    assert "e.txt has a caption that is a prompt over time: got the time 24:" in found["e"].error
    assert "f.json has as event 1" in found["f"].error


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_events_with_times_in_tables(tmp_path, suffix):
    (tmp_path / "a.mp4").write_bytes(b"x")
    table = tmp_path / f"table.{suffix}"
    if suffix == "csv":
        with table.open("w", newline="") as file:
            csv.writer(file).writerows([["path", "captions"], ["a.mp4", json.dumps(EVENTS)]])
    elif suffix == "jsonl":
        table.write_text(json.dumps({"path": "a.mp4", "captions": EVENTS}))
    else:
        import pyarrow.parquet

        columns = {"path": ["a.mp4"], "captions": [json.dumps(EVENTS)]}
        pyarrow.parquet.write_table(pyarrow.table(columns), table)
    assert [source.caption for source in list_sources(table)] == [STORY]


def test_a_csv(tmp_path):
    make_folder(tmp_path)
    with (tmp_path / "clips.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "caption"), *CLIPS.items()])
    assert contents(list_sources(tmp_path / "clips.csv")) == EXPECTED


def test_a_parquet_table_with_other_column_names(tmp_path):
    import pyarrow.parquet

    make_folder(tmp_path)
    columns = {"where": list(CLIPS), "title": list(CLIPS.values())}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "clips.parquet")
    found = list_sources(tmp_path / "clips.parquet", video_column="where", caption_column="title")
    assert contents(found) == EXPECTED


@pytest.mark.parametrize("as_folder", [False, True])
def test_webdataset_shards(tmp_path, as_folder):
    tar = make_tar(tmp_path / "shard-0.tar")
    found = contents(list_sources(tmp_path if as_folder else tar))
    assert found == {f"shard-0.tar/{name}": value for name, value in EXPECTED.items()}


def test_a_json_without_a_caption_does_not_hide_the_text(tmp_path):
    members = {"a.json": '{"width": 3}', "a.mp4": "x", "a.txt": "a fox"}
    (source,) = list_sources(write_tar(tmp_path / "shard.tar", members))
    assert source.caption == "a fox"
    (tmp_path / "sub").mkdir()
    for name, text in (("a.mp4", "x"), ("a.txt", ""), ("a.json", '{"text": "a fox"}')):
        (tmp_path / "sub" / name).write_text(text)
    (source,) = list_sources(tmp_path / "sub")
    assert source.caption == "a fox"


def test_a_truncated_shard_costs_the_rest_of_itself_only(tmp_path):
    make_tar(tmp_path / "shard-0.tar")
    whole = make_tar(tmp_path / "shard-1.tar").read_bytes()
    (tmp_path / "shard-1.tar").write_bytes(whole[: 3 * 512])  # a video and its bytes are there
    *whole, damaged, rest = list_sources(tmp_path)
    assert list(contents(whole)) == [f"shard-0.tar/{name}" for name in EXPECTED]
    assert contents([rest]) == {"shard-1.tar/a.mp4": ("", b"a.mp4")}
    assert damaged.name == "shard-1.tar"
    with pytest.raises(InputError, match="get it again"), damaged.on_disk():
        pass


def test_a_row_without_a_path_costs_itself_only(tmp_path):
    make_folder(tmp_path)
    (tmp_path / "clips.csv").write_text("path,caption\n,no path\na.mp4,a fox\n")
    good, bad = list_sources(tmp_path / "clips.csv")
    assert contents([good]) == {"a.mp4": ("a fox", b"a.mp4")}
    assert bad.name == "clips.csv row 1"
    with pytest.raises(InputError, match=r"row 1 of clips\.csv without"), bad.on_disk():
        pass


def test_a_hostile_member_name_stays_inside(tmp_path):
    with tarfile.open(tmp_path / "bad.tar", "w") as tar:
        info = tarfile.TarInfo("../../escaped.mp4")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"abc"))
    (source,) = list_sources(tmp_path / "bad.tar")
    with source.on_disk() as path:
        assert path.name == "video.mp4"
        assert path.read_bytes() == b"abc"
    assert not path.exists()
    assert not (tmp_path.parent.parent / "escaped.mp4").exists()


def test_of_two_rows_about_a_video_the_first_counts(tmp_path):
    make_folder(tmp_path)
    (tmp_path / "clips.csv").write_text("path,caption\na.mp4,first\na.mp4,second\n")
    (source,) = list_sources(tmp_path / "clips.csv")
    assert source.caption == "first"


def test_captions_are_one_line_of_text():
    assert clean_caption(" a\tfox\x00 \u202e runs\n") == "a fox runs"
    assert clean_caption(None) == clean_caption(3) == ""
    assert len(clean_caption("x" * 10**6)) == 10_000


def test_the_stamp_changes_with_the_content(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"one")
    (before,) = list_sources(tmp_path)
    old = before.cache_key()
    (tmp_path / "a.mp4").write_bytes(b"three")
    assert before.cache_key() != old


def write_gzip(path):
    path.write_bytes(gzip.compress(b"not a tar"))


@pytest.mark.parametrize(
    ("name", "write", "expected"),
    [
        ("missing.csv", lambda path: None, "exists"),
        ("list.xlsx", lambda path: path.write_bytes(b"PK"), ".csv"),
        ("empty", lambda path: path.mkdir(), "no videos"),
        ("bad.csv", lambda path: path.write_bytes(b"path\n\xff\xfe"), "UTF-8"),
        ("other.csv", lambda path: path.write_text("url\nx.mp4\n"), "--video-column"),
        ("bad.parquet", lambda path: path.write_bytes(b"PAR1"), "parquet"),
        ("bad.tar", write_gzip, "unpack"),
    ],
)
def test_bad_sources_say_what_to_do(tmp_path, name, write, expected):
    write(tmp_path / name)
    with pytest.raises(InputError, match=expected) as error:
        list_sources(tmp_path / name)
    assert "\n" not in str(error.value)
