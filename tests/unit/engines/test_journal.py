"""The journal: whatever moment a run is killed at, whole lines count and torn ones do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from hummingbird_core.engines.journal import Journal, read_journal
from hummingbird_core.errors import OutputError

ENTRIES = [("a", [{"x": 0.1}]), ("b", []), ("ü\n", {"text": "two\nlines", "none": None})]


def write(path, entries):
    with Journal(path) as journal:
        for key, value in entries:
            journal.append(key, value)


def test_what_is_written_comes_back(tmp_path):
    path = tmp_path / "new" / "journal.jsonl"
    assert list(read_journal(path)) == []
    write(path, ENTRIES[:1])
    write(path, ENTRIES[1:])
    assert list(read_journal(path)) == ENTRIES


def test_floats_come_back_exactly(tmp_path):
    values = [0.1 + 0.2, 1e-300, 3.0, 1 / 3]
    write(tmp_path / "j", [("k", values)])
    assert list(read_journal(tmp_path / "j")) == [("k", values)]


def test_a_line_torn_at_any_byte(tmp_path):
    path = tmp_path / "journal.jsonl"
    write(path, ENTRIES)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        complete = whole[:length].count(b"\n")
        assert list(read_journal(path)) == ENTRIES[:complete]
        write(path, ENTRIES[complete:])
        assert path.read_bytes() == whole


def test_a_torn_line_longer_than_a_block(tmp_path):
    path = tmp_path / "journal.jsonl"
    write(path, ENTRIES)
    whole = path.read_bytes()
    path.write_bytes(whole + b"x" * 200_000)
    write(path, [])
    assert path.read_bytes() == whole


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        Journal(tmp_path / "file" / "journal.jsonl")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, as Linux has it")
def test_a_full_disk_is_one_error():
    """Closing tries to write again what was not written; that must not replace the error."""
    with (
        pytest.raises(OutputError, match=r"/dev/full: No space left"),
        Journal(Path("/dev/full")) as journal,
    ):
        journal.append("a", 1)


@pytest.mark.parametrize("damage", [b"\xff\xfe\n", b"{}\n", b"[1]\n", b"\x00\x00\n", b'"text"\n'])
def test_a_damaged_line_costs_itself_only(tmp_path, caplog, damage):
    path = tmp_path / "journal.jsonl"
    write(path, ENTRIES[:1])
    path.write_bytes(path.read_bytes() + damage)
    write(path, ENTRIES[1:])
    assert list(read_journal(path)) == ENTRIES
    assert "line 2" in caplog.text
