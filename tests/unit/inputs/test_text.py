"""The door of text: every encoding is read right or refused by name; line ends, JSON, YAML."""

from __future__ import annotations

import os
import threading

import pytest

from hummingbird_core.errors import InputError
from hummingbird_core.inputs.json_text import parse_json
from hummingbird_core.inputs.text import (
    check_prompt,
    decode_text,
    describe,
    numbered_lines,
    read_text,
)
from hummingbird_core.inputs.yaml_text import parse_yaml

FOX = "лиса бежит 狐 🦊"


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-be"]
)
def test_a_byte_order_mark_is_heeded(encoding):
    mark = "\ufeff" if encoding.endswith(("-le", "-be")) else ""
    assert decode_text((mark + FOX).encode(encoding), "a.txt") == FOX


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("лиса".encode("cp1251"), "not UTF-8"),
        ("雪の中".encode("cp932"), "not UTF-8"),
        ("雪の中".encode("gb18030"), "not UTF-8"),
        ("café".encode("latin-1"), "not UTF-8"),
        ("雪の中".encode("iso2022_jp"), "escape characters"),
        ("a fox".encode("utf-16-le"), "UTF-16 without a byte order mark"),
        ("a fox".encode("utf-32-be"), "NUL"),
        ("a fox".encode("utf-16")[:-1], "not UTF-16-LE"),
        (b"\xff\xfe\x00\xd8", "not UTF-16-LE"),
        (b"\xed\xa0\x80", "not UTF-8"),  # half a surrogate pair
    ],
)
def test_other_bytes_are_refused_by_name(data, reason):
    with pytest.raises(InputError, match=rf"^a\.txt .*{reason}") as error:
        decode_text(data, "a.txt")
    assert "\n" not in str(error.value)


def test_lines_end_at_line_feeds_and_carriage_returns_only():
    inner = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\x1dh\x1ei"
    text = f"\ufeffone\r\n{inner}\r  three \ufeff\n\n\u200b\nsix"
    assert list(numbered_lines(text)) == [(1, "one"), (2, inner), (3, "three"), (6, "six")]


def test_a_file_is_refused_by_its_size_before_it_is_read(tmp_path):
    path = tmp_path / "large.txt"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse: reading it would take minutes
    with pytest.raises(InputError, match=r"large\.txt is larger than"):
        read_text(path)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no named pipes in folders")
def test_a_pipe_is_read_to_its_end(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(FOX.encode() * 30_000,))
    writer.start()
    assert read_text(path) == FOX * 30_000
    writer.join()


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="POSIX only")
def test_a_pipe_without_end_is_refused():
    from pathlib import Path

    with pytest.raises(InputError, match="larger than 1,000 bytes"):
        read_text(Path("/dev/zero"), 1000)


@pytest.mark.parametrize("name", ["missing", "n" * 300, "nul\0", "."])
def test_what_is_no_file_is_refused_in_one_line(tmp_path, name):
    with pytest.raises(InputError, match="cannot read") as error:
        read_text(tmp_path / name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("", "empty"),
        (" \n", "empty"),
        (None, "empty"),
        ("x" * 10_001, "10,001 characters"),
        ("a\0b", "NUL"),
        ("a\ud83d", "half a surrogate pair"),
        ("\x1b]0;title\x07", "escape"),
    ],
)
def test_a_prompt_is_text_of_sensible_length(prompt, reason):
    with pytest.raises(InputError, match=reason):
        check_prompt(prompt)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ('{"prompt": "a", "prompt": "b"}', "the key 'prompt' twice"),
        ("1" * 5000, "not JSON .a number has thousands of digits.: correct"),
        ('{"a": 1} {"b": 2}', "not JSON"),
        ("", "not JSON"),
    ],
)
def test_json_that_is_refused_by_name(text, reason):
    with pytest.raises(InputError, match=rf"^p\.json .*{reason}") as error:
        parse_json(text, "p.json")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 16_000 + "]" * 16_000, "nested too deeply"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]", "alias"),
        ("when: 2026-13-45", "no YAML"),
        ("seed: " + "1" * 5000, "no YAML"),
        ("a: b: c", "no YAML"),
        ("? [a]\n: b", "no YAML"),
        ("!!python/object:os.system x", "no YAML"),
        ("a" * 40_000, "32,768 bytes"),
    ],
)
def test_yaml_that_is_refused_by_name(text, reason):
    pytest.importorskip("yaml")
    with pytest.raises(InputError, match=rf"r\.yaml.*{reason}") as error:
        parse_yaml(text, "r.yaml")
    assert "\n" not in str(error.value)


def test_values_are_described_in_few_letters():
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    assert describe(deep) == "list"
    assert describe(3) == "3"
    assert len(describe("x" * 1000)) == 60
    while deep:  # taken apart from the outside: its destructor would recurse
        deep = deep[0]


@pytest.mark.parametrize("page", [b"<!DOCTYPE html>", b"\xef\xbb\xbf\n <HTML lang=en>", b"<head>"])
def test_a_web_page_in_place_of_text_is_refused(page):
    with pytest.raises(InputError, match=r"^p\.txt is a web page, expected text"):
        decode_text(page + b"<p>Log in</p>", "p.txt")
    assert decode_text(b"a page of <html> code", "p.txt") == "a page of <html> code"
