"""Any bytes, any JSON, any CSV, any tar: a value, or the door's own error in one line, in time."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from hummingbird_core.curation.selection_file import read_selection
from hummingbird_core.curation.sources import list_sources
from hummingbird_core.errors import InputError, printable
from hummingbird_core.evaluation.vbench.scores import read_results
from hummingbird_core.generation.jobs import VideoConfig, read_prompt_file
from hummingbird_core.inputs.json_text import parse_json
from hummingbird_core.inputs.tables import open_csv, open_jsonl
from hummingbird_core.inputs.text import decode_text, numbered_lines, reason_not_text
from hummingbird_core.inputs.yaml_text import parse_yaml
from hummingbird_core.training.pruning.block_map import read_map

quick = settings(max_examples=60, deadline=timedelta(seconds=2), database=None)

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1251", "cp932", "utf-16-be", "utf-7")
SYNTAX = ["\n", "\r", "\r\n", '"', '""', ",", ";", "\t", " ", "\0", "\x1b", "\u2028", "\ufeff", "{"]
SYNTAX += [
    "}",
    "[",
    "]",
    ":",
    "\\",
    "\\ud83d",
    "NaN",
    "1e999",
    "'",
    "&a",
    "*a",
    "- ",
    "? ",
    "!!",
    "|",
]
WORDS = ["video", "caption", "prompt", "a.mp4", "a fox", "\ud83d", "é", "狐", "null", "true"]

any_text = st.lists(st.sampled_from(SYNTAX + WORDS), max_size=40).map("".join) | st.text()
any_bytes = st.binary(max_size=300) | st.builds(
    lambda text, encoding: text.encode(encoding, errors="replace"),
    any_text,
    st.sampled_from(ENCODINGS),
)
clean_text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=8,
)


@contextmanager
def own_errors() -> Iterator[None]:
    """Allow the door's own error, if it is one short line."""
    try:
        yield
    except InputError as error:
        check_line(str(error))


def check_line(text: str) -> None:
    assert printable(text) == text  # no line break, no control character
    assert 0 < len(text) < 1000


@contextmanager
def file_of(name: str, data: bytes) -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        yield path


@quick
@given(any_bytes)
def test_any_bytes_are_text_or_refused(data):
    with own_errors():
        text = decode_text(data, "a.txt")
        assert not reason_not_text(text)
        for number, line in numbered_lines(text):
            assert number >= 1
            assert line == line.strip() != ""


@quick
@given(st.lists(st.tuples(clean_text, st.sampled_from(["\n", "\r", "\r\n"])), max_size=8))
def test_lines_come_back_whatever_ends_them(lines):
    text = "".join(line + end for line, end in lines)
    seen = [line.strip().strip("\ufeff").strip() for line, _ in lines]
    expected = [line for line in seen if any(char.isprintable() for char in line)]
    assert [line for _, line in numbered_lines(text)] == expected


@quick
@given(any_text | any_json.map(json.dumps))
def test_any_json_is_a_value_or_refused(text):
    with own_errors():
        parse_json(text, "a.json")


any_rule = st.dictionaries(st.sampled_from(["min", "max"]), any_json)
any_settings = any_json | st.dictionaries(
    st.sampled_from(["rules", "duplicate_distance", "best_by", "subject_consistency", "color"]),
    any_json | st.dictionaries(st.sampled_from(WORDS), any_rule, max_size=3),
)


@quick
@given(any_settings)
def test_any_json_is_settings_or_refused(value):
    with file_of("a.json", json.dumps(value).encode()) as path:
        for read in (read_selection, read_map, read_results):
            with own_errors():
                read(path)


@quick
@given(any_text)
def test_any_yaml_is_a_value_or_refused(text):
    with own_errors():
        parse_yaml(text, "a.yaml")


@quick
@given(any_bytes)
def test_any_table_is_rows_or_refused(data):
    for name in ("t.csv", "t.jsonl"):
        with file_of(name, data) as path, own_errors():
            opened = open_csv(path, {"video"}) if name == "t.csv" else open_jsonl(path)
            with opened as table:
                rows = list(table.rows)
            assert [row.number for row in rows] == list(range(1, len(rows) + 1))
            for row in rows:
                assert not (row.error and row.values)
                assert "\n" not in row.error


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\x1b"), max_size=12)


@quick
@given(st.lists(st.tuples(cells, cells), max_size=8), st.sampled_from([",", ";", "\t"]))
def test_a_table_that_is_well_written_comes_back(rows, delimiter):
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter).writerows([("video", "caption"), *rows])
    with (
        file_of("t.csv", text.getvalue().encode()) as path,
        open_csv(path, {"video", "caption"}) as table,
    ):
        found = [(row.values["video"], row.values["caption"]) for row in table.rows]
    assert found == [row for row in rows if any(map(str.strip, row))]


@quick
@given(st.lists(st.dictionaries(st.sampled_from(["video", "caption", "x"]), any_json), max_size=4))
def test_any_lines_of_json_cost_themselves_only(rows):
    lines = [*map(json.dumps, rows), '{"video": "good.mp4", "caption": "good"}']
    with file_of("t.jsonl", "\n".join(lines).encode()) as path, own_errors():
        found = list_sources(path)
        assert any((video.name, video.caption) == ("good.mp4", "good") for video in found)
        assert all(video.caption.isprintable() for video in found)
        assert not any("\n" in video.error for video in found)


@quick
@given(any_bytes, st.sampled_from([".txt", ".json"]))
def test_any_caption_costs_its_video_only(data, suffix):
    with file_of(f"bad{suffix}", data) as path:
        for name in ("bad.mp4", "good.mp4"):
            (path.parent / name).touch()
        (path.parent / "good.txt").write_text("good")
        bad, good = list_sources(path.parent)
    assert (good.caption, good.error) == ("good", "")
    assert bad.caption.isprintable()
    assert not (bad.caption and bad.error)


@quick
@given(any_bytes, st.sampled_from([".txt", ".jsonl", ""]))
def test_any_prompt_file_is_prompts_or_refused(data, suffix):
    with file_of(f"p{suffix}", data) as path, own_errors():
        found = read_prompt_file(path, VideoConfig(""))
        assert all(settings.prompt for settings, _ in found if suffix != ".jsonl")


def header(name: bytes, kind: bytes, size: bytes, data: bytes) -> bytes:
    """A tar header of any contents with a right checksum, and the bytes after it."""
    block = bytearray(tarfile.TarInfo("x").tobuf(tarfile.GNU_FORMAT)[:512])
    block[:100] = name[:100].ljust(100, b"\0")
    block[124:136], block[156:157] = size[:12].ljust(12, b"\0"), kind
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + data + bytes(-len(data) % 512)


any_member = st.builds(
    header,
    st.binary(max_size=20)
    | st.sampled_from([b"a.mp4", b"a.txt", b"b.json", b"../c.mp4", b".d.mp4"]),
    st.sampled_from([bytes([kind]) for kind in b"0123456789LKgxSXVDAN\0"]),
    st.binary(max_size=12)
    | st.sampled_from([b"00000000003\0", b"\x80" + b"\xff" * 11, b"\xff" * 12]),
    st.binary(max_size=40) | st.sampled_from([b"abc", b"20 GNU.sparse.major=1\n", b"9 size=8\n"]),
)


@quick
@given(st.lists(any_member, max_size=5), st.binary(max_size=600), st.integers(0, 600))
def test_any_shard_is_videos_or_refused(members, rest, cut):
    good = header(b"good.mp4", b"0", b"00000000003\0", b"abc")
    data = good + b"".join(members) + rest
    with file_of("s.tar", data[: max(len(good), len(data) - cut)]) as path:
        found = list_sources(path)
        (first,) = (video for video in found if video.name == "s.tar/good.mp4")
        with first.on_disk() as copy:
            assert copy.read_bytes() == b"abc"
        for video in found:
            with own_errors(), video.on_disk() as copy:
                assert copy.stat().st_size == video.size
