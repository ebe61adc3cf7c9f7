"""Tables as people have them: a row costs itself only, and nothing is dropped in silence."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from support.source_files import captions_of, folder_of

from hummingbird_core.curation.sources import list_sources
from hummingbird_core.errors import InputError


def table_of(path: Path, content: str | bytes, **options) -> dict[str, str]:
    folder_of(path.parent, {path.name: content, **{f"c{n}.mp4": "x" for n in (1, 2, 3)}})
    return captions_of(path, **options)


def test_a_quote_left_open_costs_its_row_only(tmp_path):
    content = 'video,caption\nc1.mp4,"a 20 inch wheel\nc2.mp4,ok\nc3.mp4,ok\n'
    found = table_of(tmp_path / "t.csv", content)
    assert found.pop("c2.mp4") == found.pop("c3.mp4") == "ok"
    assert found.pop("t.csv row 1").startswith("row 1 of t.csv is no CSV")
    assert not found


@pytest.mark.parametrize("bad", ["c\0001.mp4,a fox", "c1.mp4,a fox, red, in snow", "c1.mp4,\udce9"])
def test_a_broken_row_costs_itself_only(tmp_path, bad):
    content = f"video,caption\n{bad}\nc2.mp4,ok\n".encode(errors="surrogateescape")
    found = table_of(tmp_path / "t.csv", content)
    assert found.pop("c2.mp4") == "ok"
    assert found.pop("t.csv row 1").startswith("row 1 of t.csv h")
    assert not found


@pytest.mark.parametrize(
    "header", ["video, caption", "video,Caption", "VIDEO , caption ", "Path,Text"]
)
def test_names_of_columns_in_any_case(tmp_path, header):
    assert table_of(tmp_path / "t.csv", f"{header}\nc1.mp4,a fox\n") == {"c1.mp4": "a fox"}
    options = {"video_column": "Clip ", "caption_column": "title"}
    found = table_of(tmp_path / "t.csv", "clip,Title\nc1.mp4,a fox\n", **options)
    assert found == {"c1.mp4": "a fox"}


@pytest.mark.parametrize("content", ["video,caption\n", "video,caption\n\n,\n"])
def test_a_table_without_rows_says_so(tmp_path, caplog, content):
    (tmp_path / "t.csv").write_text(content)
    with suppress(InputError):  # there are no videos
        list_sources(tmp_path / "t.csv")
    assert "t.csv has no rows below its header" in caplog.text
    assert "captions are empty" not in caplog.text


def test_two_columns_of_captions_are_reported(tmp_path, caplog):
    content = "video,caption,Caption\nc1.mp4,a fox,an owl\n"
    assert table_of(tmp_path / "t.csv", content) == {"c1.mp4": "a fox"}
    assert "t.csv has more than one column caption" in caplog.text


def test_a_table_without_captions_says_so(tmp_path, caplog):
    assert table_of(tmp_path / "t.csv", "video,note\nc1.mp4,a fox\n") == {"c1.mp4": ""}
    assert "all captions are empty" in caplog.text
    caplog.clear()
    assert table_of(tmp_path / "t.jsonl", '{"video": "c1.mp4"}\n') == {"c1.mp4": ""}
    assert "all captions are empty" in caplog.text
    with pytest.raises(InputError, match=r"video, note, expected one of title.*--caption-column"):
        list_sources(tmp_path / "t.csv", caption_column="title")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", "video,caption\nc1.mp4,first\nc2.mp4,ok\n./c1.mp4,second\nc1.mp4,third\n"),
        (
            "t.jsonl",
            '{"video": "c1.mp4", "text": "first"}\n{"video": "c2.mp4", "text": "ok"}\n'
            '{"video": "./c1.mp4", "text": "second"}\n{"video": "c1.mp4", "text": "third"}\n',
        ),
    ],
)
def test_further_captions_of_a_video_are_counted_and_named(tmp_path, caplog, name, content):
    assert table_of(tmp_path / name, content) == {"c1.mp4": "first", "c2.mp4": "ok"}
    assert f"{name} has rows that name a video again" in caplog.text
    assert "row 3 (./c1.mp4), row 4 (c1.mp4)" in caplog.text


def test_odd_values_in_lines_of_json_cost_their_row_only(tmp_path):
    lines = [
        '{"video": "c1.mp4", "caption": "ok", "score": NaN}',
        '{"video": {"path": "c2.mp4", "bytes": null}, "caption": NaN}',
        '{"video": "c3\\u0000.mp4"}',
        '{"video": "c3\\ud83d.mp4"}',
        '{"video": 5}',
        '{"video": ["c3.mp4"]}',
        '{"video": {"src": "c3.mp4"}}',
        '{"video": "c3.mp4", "caption": {"en": "a fox"}}',
        '{"note": "no path"}',
        '"c3.mp4"',
    ]
    found = table_of(tmp_path / "t.jsonl", "\n".join(lines))
    assert found.pop("c1.mp4") == "ok"
    assert found.pop("c2.mp4") == ""
    assert sorted(found) == sorted(f"t.jsonl row {number}" for number in range(3, 11))
    assert all(
        reason.startswith((f"row {name[12:]} ", "got row")) for name, reason in found.items()
    )


@pytest.mark.parametrize("row", ['a,"b', "a,b,c", "\0", ",no path"])
def test_a_table_of_broken_rows_is_refused_at_once(tmp_path, row):
    with pytest.raises(InputError, match=r"most rows of t\.csv are unusable, such as: .*row 1001"):
        table_of(tmp_path / "t.csv", "video,caption\n" + f"{row}\n" * 5000)


def test_blank_lines_without_end_are_refused(tmp_path):
    found = table_of(tmp_path / "t.csv", "video,caption\nc1.mp4,ok\n" + "\n" * 20_000)
    assert found.pop("c1.mp4") == "ok"
    assert "10,000 that follow are blank" in found.pop("t.csv row 2")
    assert not found


def test_columns_of_hugging_face_videos(tmp_path):
    pa = pytest.importorskip("pyarrow", reason="needs the extra curate")
    pq = pytest.importorskip("pyarrow.parquet")
    folder_of(tmp_path, {"here.mp4": "of the folder"})
    videos = [
        {"bytes": b"inside", "path": "../gone/c1.mp4"},
        {"bytes": None, "path": "here.mp4"},
        {"bytes": b"nameless", "path": None},
        {"bytes": None, "path": None},
    ]
    pq.write_table(pa.table({"video": videos, "caption": list("abcd")}), tmp_path / "t.parquet")
    found = list_sources(tmp_path / "t.parquet")
    assert [(video.name, video.caption) for video in found] == [
        ("here.mp4", "b"),
        ("t.parquet/row 1 c1.mp4", "a"),
        ("t.parquet/row 3", "c"),
        ("t.parquet/row 4", "d"),
    ]
    contents = []
    for video in found[:3]:
        with video.on_disk() as path:
            contents.append(path.read_bytes())
    assert contents == [b"of the folder", b"inside", b"nameless"]
    with pytest.raises(InputError, match=r"row 4 of t\.parquet holds no bytes"), found[3].on_disk():
        pass
    assert len({video.cache_key() for video in found}) == 4
    paths = pa.table({"video": pa.array([b"here.mp4"]), "caption": ["a fox"]})
    pq.write_table(paths, tmp_path / "t.parquet")
    assert captions_of(tmp_path / "t.parquet") == {"here.mp4": "a fox"}


def test_a_column_of_captions_that_are_no_text_is_refused(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    folder_of(tmp_path, {"a.mp4": "x"})
    table = tmp_path / "t.parquet"
    pq.write_table(pa.table({"video": ["a.mp4"], "caption": [5]}), table)
    with pytest.raises(InputError, match=r"caption column caption \(int64\), expected text"):
        list_sources(table)
    pq.write_table(pa.table({"video": ["a.mp4"], "caption": [5], "text": ["a fox"]}), table)
    assert captions_of(table) == {"a.mp4": "a fox"}
    pq.write_table(pa.table({"video": ["a.mp4"], "caption": [None]}), table)
    assert captions_of(table) == {"a.mp4": ""}


@pytest.mark.parametrize("nothing", ["NULL", "NaN", " None ", "N/A", "<NA>", "\\N"])
def test_words_for_no_value_are_no_caption(tmp_path, nothing):
    folder_of(tmp_path, {"a.mp4": "x", "t.csv": f"video,caption,title\na.mp4,{nothing},a fox\n"})
    assert captions_of(tmp_path / "t.csv") == {"a.mp4": ""}


@pytest.mark.parametrize("header", ["", ",,"])
def test_a_table_without_names_of_columns_says_so(tmp_path, header):
    folder_of(tmp_path, {"t.csv": f"{header}\na.mp4\n" if header else ""})
    with pytest.raises(InputError, match=r"got t\.csv with no columns, expected"):
        list_sources(tmp_path / "t.csv")
