"""The door of tables: a broken row costs itself only, and columns are found by their names."""

from __future__ import annotations

import time

import pytest

from hummingbird_core.errors import InputError
from hummingbird_core.inputs.tables import MAX_LINE, MAX_ROW_LINES, Row, open_csv, open_jsonl

KNOWN = {"video", "caption"}


def rows_of(path, content: str | bytes) -> list[Row]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    opened = open_jsonl(path) if path.suffix == ".jsonl" else open_csv(path, KNOWN)
    with opened as table:
        return list(table.rows)


def values_of(path, content) -> list[tuple]:
    """The rows as tuples of cells; of a broken row its number and reason."""
    return [
        (row.number, row.error) if row.error else tuple(row.values.values())
        for row in rows_of(path, content)
    ]


@pytest.mark.parametrize(
    "content",
    [
        "video,caption\nc1.mp4,a fox\nc2.mp4,ok\n",
        "video,caption\r\nc1.mp4,a fox\r\nc2.mp4,ok",
        "video,caption\rc1.mp4,a fox\rc2.mp4,ok\r",
        " Video ,  CAPTION\nc1.mp4, a fox\nc2.mp4, ok\n",
        'video, caption\nc1.mp4, "a fox"\nc2.mp4, "ok"\n',
        '"video","caption"\n"c1.mp4","a fox"\n\n"c2.mp4","ok"\n,\n',
        "video;caption\nc1.mp4;a fox\nc2.mp4;ok\n",
        "video\tcaption\nc1.mp4\ta fox\nc2.mp4\tok\n",
        "video,caption\nc1.mp4,a fox,,\nc2.mp4,ok,\n",
        "\ufeffvideo,caption\nc1.mp4,a fox\nc2.mp4,ok\n",
        "\ufeffvideo,caption\nc1.mp4,a fox\nc2.mp4,ok\n".encode("utf-16-le"),
    ],
)
def test_ways_to_write_the_same_table(tmp_path, content):
    rows = rows_of(tmp_path / "t.csv", content)
    assert [(row.values["video"], row.values["caption"]) for row in rows] == [
        ("c1.mp4", "a fox"),
        ("c2.mp4", "ok"),
    ]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b'c1.mp4,"a 20 inch wheel', "check its quotes"),
        (b'c1.mp4,"a "wide" wheel"', "check its quotes"),
        (b"c1.mp4,a fox, red, in snow", "has 4 cells, expected 2"),
        (b"c\x001.mp4,a fox", "NUL"),
        (b"c1.mp4,caf\xe9", "not UTF-8"),
        (b"c1.mp4", "has 1 cells, expected 2 as in the header: put a delimiter"),
        (b"c1.mp4," + b"x" * 200_000, "a cell of more than 131,072 characters"),
        (b"c1.mp4," + b"x" * (3 * MAX_LINE), "more than 1,048,576 characters"),
        (b'c1.mp4,"' + b"x\n" * MAX_ROW_LINES, f"more than {MAX_ROW_LINES} lines"),
    ],
)
def test_a_broken_row_costs_itself_only(tmp_path, bad, reason):
    head = b"video,caption\nc0.mp4,before\n"
    found = rows_of(tmp_path / "t.csv", head + bad + b"\nc2.mp4,ok\nc3.mp4,ok\n")
    broken = [row for row in found if row.error]
    assert reason in broken[0].error
    assert broken[0].number == 2
    names = [row.values.get("video") for row in found if not row.error]
    assert names[0] == "c0.mp4"
    assert names[-2:] == ["c2.mp4", "c3.mp4"]


def test_a_header_may_end_with_a_delimiter(tmp_path):
    assert values_of(tmp_path / "t.csv", "video,caption,\na.mp4,ok\n") == [("a.mp4", "ok")]


@pytest.mark.parametrize(
    ("content", "repeated"),
    [
        ("video,caption,Caption \na.mp4,one,two\n", ("caption",)),
        ("video,caption,,\na.mp4,one,,\n", ()),
    ],
)
def test_columns_with_one_name_are_reported(tmp_path, content, repeated):
    (tmp_path / "t.csv").write_text(content)
    with open_csv(tmp_path / "t.csv", KNOWN) as table:
        (row,) = table.rows
    assert row.values["caption"] == "one"
    assert table.repeated == repeated


def test_every_open_quote_costs_its_row(tmp_path):
    content = 'video,caption\na,"20 inch\nb,ok\nc,"19 inch\nd,"two\nlines"\ne,ok\n'
    found = values_of(tmp_path / "t.csv", content)
    assert [row for row in found if isinstance(row[0], str)] == [
        ("b", "ok"),
        ("d", "two\nlines"),
        ("e", "ok"),
    ]
    assert [row[0] for row in found if isinstance(row[0], int)] == [1, 3]


def test_unclosed_quotes_take_no_quadratic_time(tmp_path):
    started = time.monotonic()
    rows = rows_of(tmp_path / "t.csv", "video,caption\n" + ('a,"b' + "\nc,d" * 99 + "\n") * 500)
    assert time.monotonic() - started < 2
    assert sum(not row.error for row in rows) >= 49_000


def test_separators_of_unicode_end_no_line(tmp_path):
    inner = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg"
    found = values_of(tmp_path / "t.csv", f"video,caption\na.mp4,{inner}\n")
    assert found == [("a.mp4", inner)]
    found = values_of(tmp_path / "t.jsonl", '{"video": "a.mp4", "caption": "x\u2028y"}\n')
    assert found == [("a.mp4", "x\u2028y")]


def test_damaged_utf_16_costs_its_row(tmp_path):
    data = "\ufeffvideo,caption\na.mp4,ok\nb?.mp4,ok\nc.mp4,ok\nd".encode("utf-16-le")
    data = data.replace("?".encode("utf-16-le"), b"\x00\xd8") + b"d"  # and an odd number of bytes
    first, broken, third, last = rows_of(tmp_path / "t.csv", data)
    assert [row.values["video"] for row in (first, third)] == ["a.mp4", "c.mp4"]
    assert broken.error
    assert "all that follow" in last.error


@pytest.mark.parametrize(
    "line",
    ['{"video": "b.mp4"', "[1, 2]", "nonsense", "[" * 100_000, '{"video": "b", "video": "c"}', "3"],
)
def test_a_broken_line_of_json_costs_itself_only(tmp_path, line):
    content = f'{{"video": "a.mp4"}}\n{line}\n\n{{"Video": "c.mp4"}}\n'
    first, broken, last = rows_of(tmp_path / "t.jsonl", content)
    assert (first.values, last.values) == ({"video": "a.mp4"}, {"video": "c.mp4"})
    assert broken.number == 2
    assert broken.error
    assert "\n" not in broken.error


@pytest.mark.parametrize("data", ["video,caption\n".encode("utf-16-le"), b"\xff\xfe\x00\xd8"])
def test_a_header_that_is_no_text_is_refused(tmp_path, data):
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(InputError, match=r"header of t\.csv"), open_csv(tmp_path / "t.csv", KNOWN):
        pass


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_an_empty_table_has_no_rows(tmp_path, suffix):
    for content in (b"", b"\n \n", b"\xef\xbb\xbf"):
        assert rows_of(tmp_path / f"t{suffix}", content) == []
