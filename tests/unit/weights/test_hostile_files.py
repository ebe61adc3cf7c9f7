"""Weights files that lie about their size, or cost more than it: one line, at once."""

from __future__ import annotations

import contextlib
import io
import json
import os
import struct
import time
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hummingbird_core.checkpoints import checkpoint_info, read_tensors
from hummingbird_core.errors import CheckpointError
from hummingbird_core.weights.pickle.modules import read_pickled_model
from hummingbird_core.weights.pickle.plain import read_plain
from hummingbird_core.weights.tensor_files import open_tensors

MAX_SECONDS = 5  # of the processor, on a slow machine; without limits it is hours
MANY = 1_000_000  # instructions

# A tuple that holds the tuple before it twice, sixty times: 2^60 elements in 240 bytes.
SHARED = b")q\x00" + b"h\x00h\x00\x86q\x00" * 60 + b"0h\x00"
STORAGE = b"(X\x07\0\0\0storagectorch\nFloatStorage\n%bX\x03\0\0\0cpuK\x01tQ"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
FLOATS = STORAGE % b"X\x01\0\0\x000"
LONG_LIST = b"](" + b"N" * 1000 + b"eq\x01"

PICKLES = {
    "shared tuple as a key": b"}" + SHARED + b"K\x01s.",
    "shared tuple in a set": b"\x8f(" + SHARED + b"\x90.",
    "shared tuple as a frozen set": b"(" + SHARED + b"\x91.",
    "shared tuple as the key of a storage": STORAGE % SHARED + b".",
    "shared tuple as a shape": REBUILD + b"(" + FLOATS + b"K\x00" + SHARED + b")\x89NtR.",
    "shared tuple as an offset": REBUILD + b"(" + FLOATS + SHARED + b"K\x01\x85K\x01\x85\x89NtR.",
    "text of a shared tuple": b"c__builtin__\nstr\n" + SHARED + b"\x85R.",
    "set of a shared tuple": b"c__builtin__\nset\n](" + SHARED + b"e\x85R.",
    "dictionary of a shared tuple": b"ccollections\nOrderedDict\n](" + SHARED + b"N\x86e\x85R.",
    "lists copied in a list": LONG_LIST
    + b"0]("
    + b"c__builtin__\nlist\nh\x01\x85R" * 50_000
    + b"e.",
    "state copied in stubs": b"}q\x01("
    + b"".join(b"M%bN" % struct.pack("<H", i) for i in range(1000))
    + b"u0]("
    + b"ca\nb\n)\x81h\x01b" * 50_000
    + b"e.",
    "integers of one hash as keys": b"}("
    + b"".join(b"\x8a\x0b%bN" % (k * (2**61 - 1)).to_bytes(11, "little") for k in range(1, 50_000))
    + b"u.",
    "rebuild of a rebuild": b"ctorch._tensor\n_rebuild_from_type_v2\nq\x00"
    + b"(h\x00Nh\x00Nt" * 5000
    + b"R.",
    "nested lists": b"]" * MANY + b"a" * (MANY - 1) + b".",
    "nested tuples": b"N" + b"\x85" * MANY + b".",
    "marks": b"(" * MANY + b".",
    "sets": b"(" + b"\x8f" * MANY + b"l.",
    "names": b"(" + b"".join(b"ca\n%d\n" % i for i in range(MANY // 10)) + b"l.",
    "a memo": b"N" + b"\x94" * MANY + b".",
    "text of 4 GB": b"X\xff\xff\xff\xffabc.",
    "bytes of 1 TB": b"\x96" + struct.pack("<Q", 1 << 40) + b"abc.",
    "a number of a million digits": b"L" + b"9" * MANY + b"L\n.",
    "names a thousand times as long as the file": b"}q\x00"
    + b"".join(b"}(X\xff\0\0\0" + b"k" * 255 + b"h\x00X\x01\0\0\0bh\x00uq\x00" for _ in range(60))
    + b".",
    "no instruction": b"\xff.",
    "an extension": b"\x82\x01.",
    "a pop too many": b"00.",
}


def zip_file(path: Path, data: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x04" + data)
        archive.writestr("a/data/0", b"\0" * 64)
    return path


def legacy_file(path: Path, data: bytes) -> Path:
    file = io.BytesIO()
    torch.save({}, file, _use_new_zipfile_serialization=False)
    head, *_ = file.getvalue().split(b"\x80\x02}", maxsplit=1)  # up to the root object
    path.write_bytes(head + b"\x80\x04" + data)
    return path


def refusal(path: Path, read=read_tensors) -> str:
    start = time.process_time()
    with pytest.raises(CheckpointError) as caught:
        read(path)
    assert time.process_time() - start < MAX_SECONDS
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    return str(caught.value)


@pytest.mark.parametrize("make", [zip_file, legacy_file])
@pytest.mark.parametrize("name", PICKLES)
def test_pickles_cost_no_more_than_their_size(tmp_path, name, make):
    refusal(make(tmp_path / "a.pt", PICKLES[name]))


# --- zip files ------------------------------------------------------------------------------------


@pytest.fixture
def good(tmp_path) -> Path:
    torch.save({"a": torch.ones(4)}, tmp_path / "good.pt")
    return tmp_path / "good.pt"


def replaced(path: Path, old: bytes, new: bytes) -> Path:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))
    return path


def central(path: Path, offset: int, value: bytes) -> Path:
    """Change a field of every entry of the table of contents."""
    data = bytearray(path.read_bytes())
    position = data.find(b"PK\x01\x02")
    while position >= 0:
        data[position + offset : position + offset + len(value)] = value
        position = data.find(b"PK\x01\x02", position + 4)
    path.write_bytes(data)
    return path


def test_encrypted_entries_are_refused(good):
    assert "encrypted" in refusal(central(good, 8, b"\x01\0"))


def test_entries_of_two_sizes_are_refused(good):
    assert "two different sizes" in refusal(central(good, 24, struct.pack("<I", 1 << 30)))


def test_entries_larger_than_the_file_are_refused(good):
    assert "overlap" in refusal(central(good, 20, struct.pack("<II", 1 << 30, 1 << 30)))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_entries_of_one_name_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}.")
        archive.writestr("a/data.pkl", b"\x80\x02N.")
    assert "overlap" in refusal(tmp_path / "a.pt")


def test_a_table_of_contents_of_many_entries_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        for index in range(45_000):
            archive.writestr(str(index), b"")
    assert "too long" in refusal(tmp_path / "a.pt")


def test_damage_anywhere_in_the_table_of_contents_raises_no_other_error(good):
    data = good.read_bytes()
    for position in range(data.find(b"PK\x01\x02"), len(data)):
        good.write_bytes(data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :])
        with contextlib.suppress(CheckpointError):
            read_tensors(good)


def test_storages_of_impossible_length_in_the_old_format_are_refused(tmp_path):
    file = tmp_path / "a.pt"
    for numel in (-1, -(2**63), 2**62):
        torch.save({"a": torch.ones(4)}, file, _use_new_zipfile_serialization=False)
        replaced(file, struct.pack("<q4f", 4, 1, 1, 1, 1), struct.pack("<q4f", numel, 1, 1, 1, 1))
        assert "impossible size" in refusal(file)


# --- repeated numbers -----------------------------------------------------------------------------


def test_many_views_of_one_storage_are_refused(tmp_path):
    one = torch.ones(100_000)
    torch.save({str(i): one for i in range(100)}, tmp_path / "a.pt")
    assert "repeats its numbers" in refusal(tmp_path / "a.pt")
    assert len(read_pickled_model(tmp_path / "a.pt").tensors) == 100  # nothing was read


def test_tied_weights_are_read(tmp_path):
    one = torch.ones(100_000)
    torch.save({"in": one, "out": one}, tmp_path / "a.pt")
    assert len(read_tensors(tmp_path / "a.pt")) == 2


# --- safetensors ----------------------------------------------------------------------------------


def header_only(path: Path, header: bytes) -> Path:
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    return path


def entry(shape: list[int], dtype: str = "U8", end: int = 0) -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}


@pytest.mark.parametrize("shape", [[0, 1 << 62], [1 << 62, 0], [0] * 1000])
def test_empty_tensors_of_great_shapes_are_described_or_refused(tmp_path, shape):
    header = json.dumps({"input_blocks.0.0.weight": entry(shape)}).encode()
    path = header_only(tmp_path / "a.safetensors", header)
    assert checkpoint_info(path)["preset"] is None


def test_too_many_tensors_and_a_long_header_are_refused(tmp_path):
    header = json.dumps({str(i): entry([0]) for i in range(10_001)}).encode()
    assert "10,001 tensors" in refusal(header_only(tmp_path / "a.safetensors", header))
    header = json.dumps({"a": entry([0]), "__metadata__": {"a": "b" * (9 << 20)}}).encode()
    assert "header of" in refusal(header_only(tmp_path / "a.safetensors", header))


@pytest.mark.parametrize(
    "header",
    [
        b"{" * 100_000,
        b'{"a": ' + b"[" * 50_000,
        b'{"__metadata__": {"a": 1}}',
        json.dumps({"a": entry([1 << 40], "F32", 1 << 42)}).encode(),
        json.dumps({"a": entry([-1])}).encode(),
        json.dumps({"a": entry([1], "F4", 1)}).encode(),
        b'{"a": {"dtype": "U8", "shape": [0], "data_offsets": [0, 99999999999999999999]}}',
    ],
)
def test_headers_that_lie_are_refused(tmp_path, header):
    refusal(header_only(tmp_path / "a.safetensors", header))


def test_texts_in_tensors_are_bounded(tmp_path):
    save_file({"hummingbird.x": torch.zeros(17 << 20, dtype=torch.uint8)}, tmp_path / "a")
    assert "no text" in refusal(tmp_path / "a")
    save_file({"hummingbird.x": torch.full((2,), 0xFF, dtype=torch.uint8)}, tmp_path / "a")
    assert "no text" in refusal(tmp_path / "a")


# --- other files ----------------------------------------------------------------------------------


def test_the_suffix_does_not_matter(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "a.pt")
    torch.save({"a": torch.ones(2)}, tmp_path / "b.safetensors")
    for name, kind in (("a.pt", "safetensors"), ("b.safetensors", "pickle")):
        file = open_tensors(tmp_path / name)
        assert file.format == kind
        assert torch.equal(file.tensors["a"].read(), torch.ones(2))


@pytest.mark.parametrize("page", ["<!DOCTYPE html><html>", "\ufeff\n <HTML lang=en>", "<head>"])
def test_a_web_page_is_called_one(tmp_path, page):
    (tmp_path / "a.safetensors").write_text(page, encoding="utf-8")
    assert "is a web page" in refusal(tmp_path / "a.safetensors")


def test_a_pointer_of_git_lfs_is_called_one(tmp_path):
    (tmp_path / "a.pt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\n")
    assert "Git LFS pointer" in refusal(tmp_path / "a.pt")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.pt")
    assert "pipe or device" in refusal(tmp_path / "a.pt")
    assert "no regular file" in refusal(tmp_path / "a.pt", read_plain)
