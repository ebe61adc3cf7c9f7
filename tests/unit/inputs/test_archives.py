"""The door of archives: sizes that lie, endless headers and odd members."""

from __future__ import annotations

import io
import tarfile
import time

import pytest

from hummingbird_core.errors import InputError
from hummingbird_core.inputs.archives import Member, copy_part, list_members, read_member

BLOCK = tarfile.BLOCKSIZE


def entry(name: str, data: bytes = b"", **changes) -> bytes:
    """A header with the file's bytes after it."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in changes.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % BLOCK)


def with_size(header: bytes, size: int) -> bytes:
    """A header that claims another size, in the base-256 notation of GNU tar."""
    field = (size % (1 << 88)).to_bytes(11, "big")
    header = header[:124] + (b"\xff" if size < 0 else b"\x80") + field + header[136:]
    checksum = sum(header[:148]) + sum(header[156:512]) + 8 * 32
    return header[:148] + b"%06o\0 " % checksum + header[156:]


def pax(records: bytes, data: bytes = b"") -> bytes:
    return entry("pax", records, type=tarfile.XHDTYPE) + entry("sparse.mp4", data)


LONG_NAME = entry("././@LongLink", type=tarfile.GNUTYPE_LONGNAME)
SPARSE_MAP = b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n27 GNU.sparse.name=s.mp4\n"
HOSTILE = {
    "negative": with_size(entry("v.mp4"), -BLOCK),
    "negative_further": with_size(entry("v.mp4"), -4 * BLOCK),
    "huge": with_size(entry("v.mp4"), 1 << 80),
    "long_name_of_4_gb": with_size(LONG_NAME, 4 << 30),
    "pax_of_4_gb": with_size(entry("pax", type=tarfile.XHDTYPE), 4 << 30),
    "broken_sparse_map": pax(SPARSE_MAP, b"x" * BLOCK),
    "chain_of_long_names": LONG_NAME * 5000,
    "cut_in_the_header": entry("v.mp4")[:300],
    "noise": b"x" * BLOCK,
    "joined": bytes(2 * BLOCK) + entry("v.mp4", b"of another archive"),
}


def members(path) -> tuple[list[Member], str]:
    found: list[Member] = []
    try:
        for member in list_members(path):
            found.append(member)
    except InputError as error:
        return found, str(error)
    return found, ""


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_before_a_lie_is_listed(tmp_path, kind):
    path = tmp_path / "a.tar"
    path.write_bytes(entry("first.mp4", b"abc") + HOSTILE[kind])
    started = time.monotonic()
    (first, *others), damage = members(path)
    assert time.monotonic() - started < 2
    assert read_member(path, first, 100) == b"abc"
    assert damage.startswith("cannot read a.tar as a tar file")
    assert "\n" not in damage
    assert all(member.error for member in others)


def test_odd_members_have_a_reason(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for name, kind in (("l", tarfile.SYMTYPE), ("h", tarfile.LNKTYPE), ("p", tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(f"{name}.mp4")
            info.type, info.linkname = kind, "../../etc/passwd"
            tar.addfile(info)
        folder = tarfile.TarInfo("folder.mp4")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        good = tarfile.TarInfo("good.mp4")
        good.size = 3
        tar.addfile(good, io.BytesIO(b"abc"))
    found, damage = members(path)
    assert not damage
    reasons = {member.name: member.error.partition(":")[0] for member in found}
    assert reasons == {
        "l.mp4": "is a link",
        "h.mp4": "is a link",
        "p.mp4": "is no regular file",
        "good.mp4": "",
    }


def test_a_sparse_file_of_100_gb_is_refused(tmp_path):
    header = bytearray(with_size(entry("big.mp4", type=tarfile.GNUTYPE_SPARSE), 0))
    header[386:398], header[398:410] = b"%011o\0" % 0, b"%011o\0" % 0
    header[483:495] = b"\x80" + (100 << 30).to_bytes(11, "big")  # its real size
    (tmp_path / "a.tar").write_bytes(with_size(bytes(header), 0) + bytes(2 * BLOCK))
    (member,), _ = members(tmp_path / "a.tar")
    assert "sparse" in member.error
    with pytest.raises(InputError, match="sparse"):
        read_member(tmp_path / "a.tar", member, 100)


def test_a_member_larger_than_allowed_is_not_read(tmp_path):
    (tmp_path / "a.tar").write_bytes(entry("a.txt", b"x" * 200) + bytes(2 * BLOCK))
    (member,), _ = members(tmp_path / "a.tar")
    with pytest.raises(InputError, match=r"a\.txt has 200 bytes, expected at most 100"):
        read_member(tmp_path / "a.tar", member, 100)


def test_a_part_beyond_the_end_is_refused(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"abc")
    copy_part(tmp_path / "a.tar", 1, 2, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"bc"
    with pytest.raises(InputError, match="truncated"):
        copy_part(tmp_path / "a.tar", 1, 1 << 80, tmp_path / "copy")
