"""The door of parquet tables: wanted columns, videos inside of them, values out of range."""

from __future__ import annotations

import time

import pytest

from hummingbird_core.errors import InputError
from hummingbird_core.inputs.parquet import MAX_CELL, StoredVideo, open_parquet, write_cell

pa = pytest.importorskip("pyarrow", reason="needs the extra curate")
pq = pytest.importorskip("pyarrow.parquet")

VIDEOS, CAPTIONS = ("video", "path"), ("caption", "text")


def rows_of(path, columns, **options) -> list:
    pq.write_table(pa.table(columns), path, **options)
    with open_parquet(path, VIDEOS, CAPTIONS) as table:
        return list(table.rows)


def values_of(path, columns) -> list[tuple]:
    return [(row.values.get("video"), row.values.get("caption")) for row in rows_of(path, columns)]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary()])
def test_paths_of_any_text_type(tmp_path, kind):
    videos = pa.array(["a.mp4", None, "ü.mp4"], pa.string()).cast(kind)
    table = {"Video": videos, " caption ": ["a fox", "x", None]}
    assert values_of(tmp_path / "t.parquet", table) == [
        ("a.mp4", "a fox"),
        (None, "x"),
        ("ü.mp4", None),
    ]


def test_a_category_is_text(tmp_path):
    table = {"video": pa.array(["a", "b", "a"]).dictionary_encode(), "caption": ["x", "y", "z"]}
    assert values_of(tmp_path / "t.parquet", table) == [("a", "x"), ("b", "y"), ("a", "z")]


@pytest.mark.parametrize("group", [1, 2, 100])
def test_videos_inside_of_the_table(tmp_path, group):
    videos = [
        {"bytes": b"one" * 5000, "path": "c1.mp4"},
        {"bytes": None, "path": "c2.mp4"},
        None,
        {"bytes": b"four", "path": None},
    ]
    path = tmp_path / "t.parquet"
    found = [row.values["video"] for row in rows_of(path, {"video": videos}, row_group_size=group)]
    assert found == [
        StoredVideo("video.bytes", 0, "c1.mp4"),
        StoredVideo("video.bytes", 1, "c2.mp4"),
        StoredVideo("video.bytes", 2, ""),
        StoredVideo("video.bytes", 3, ""),
    ]
    for row, data in ((0, b"one" * 5000), (3, b"four")):
        write_cell(path, "video.bytes", row, tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == data
    for row in (1, 2, 99):
        with pytest.raises(InputError, match=f"row {row + 1} of"):
            write_cell(path, "video.bytes", row, tmp_path / "copy")


def test_a_column_of_large_bytes_holds_videos(tmp_path):
    path = tmp_path / "t.parquet"
    (row,) = rows_of(path, {"video": pa.array([b"\0" * 9000], pa.binary()), "caption": ["x"]})
    assert row.values == {"video": StoredVideo("video", 0, ""), "caption": "x"}
    write_cell(path, "video", 0, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"\0" * 9000


def test_values_that_are_no_text_cost_their_row(tmp_path):
    bad = pa.array([b"a.mp4", b"\xff\xfe", b"c.mp4"], pa.binary()).view(pa.string())
    columns = {"video": bad, "caption": ["x", "y", "z" * (MAX_CELL + 1)]}
    first, second, third = rows_of(tmp_path / "t.parquet", columns)
    assert first.values["video"] == "a.mp4"
    assert "not UTF-8" in second.error
    assert "65,537 bytes" in third.error


def test_columns_that_nobody_asks_for_are_not_read(tmp_path):
    dates = pa.array([2**62], pa.timestamp("us"))  # no date of Python
    columns = {"video": ["a.mp4"], "when": dates, "caption": [5]}
    (row,) = rows_of(tmp_path / "t.parquet", columns)
    assert dict(row.values) == {"video": "a.mp4"}
    with open_parquet(tmp_path / "t.parquet", VIDEOS, CAPTIONS) as table:
        assert table.describe() == "the columns video, when (timestamp[us]), caption (int64)"


def test_rows_without_bytes_are_refused_at_once(tmp_path):
    path = tmp_path / "t.parquet"
    one = pa.DictionaryArray.from_arrays(pa.array([0] * 3_000_000, pa.int8()), pa.array(["a.mp4"]))
    pq.write_table(pa.table({"video": one}), path)
    assert path.stat().st_size < 10_000
    started = time.monotonic()
    with pytest.raises(InputError, match="3,000,000 rows"), open_parquet(path, VIDEOS, CAPTIONS):
        pass
    assert time.monotonic() - started < 2


def test_a_long_text_that_all_rows_share_is_read_once(tmp_path):
    long = pa.DictionaryArray.from_arrays(pa.array([0] * 5000, pa.int32()), ["x" * 2**20])
    columns = {"video": [f"{i}.mp4" for i in range(5000)], "caption": long}
    started = time.monotonic()
    rows = rows_of(tmp_path / "t.parquet", columns)
    assert time.monotonic() - started < 10
    assert all("1,048,576 bytes" in row.error for row in rows)


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1" + b"\xff" * 50 + b"PAR1"])
def test_a_damaged_table_is_named(tmp_path, data):
    (tmp_path / "t.parquet").write_bytes(data)
    with (
        pytest.raises(InputError, match=r"t\.parquet as a parquet file") as error,
        open_parquet(tmp_path / "t.parquet", VIDEOS, CAPTIONS),
    ):
        pass
    assert "\n" not in str(error.value)
