"""A download gets its name only with the right content, whatever the server sends."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest

from hummingbird_core.errors import DownloadError, OutputError
from hummingbird_core.hub.transfer import RemoteFile, fetch_verified, is_text

CONTENT = b"PK\x03\x04\x00" + random.Random(0).randbytes(9_995)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PAGE = b"<html><body>Welcome to the hotel</body></html>"
WITH_HASH = RemoteFile(len(CONTENT), SHA256, len(CONTENT))
NAME = "model.pt"


def sender(body: bytes, chunk: int = 1000):
    """The transfer of a server that sends `body`, and what was asked for."""
    starts = []

    def send(file, arrived):
        starts.append(arrived)
        for start in range(arrived, len(body), chunk):
            file.write(body[start : start + chunk])

    return send, starts


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def partial(folder: Path, content: bytes, remote: RemoteFile = WITH_HASH) -> Path:
    path = remote.partial_path(folder / NAME)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "etag", [SHA256, "", "b" * 40, "../../x", "\x1b[31m", "a" * 5000, "\udc80"]
)
def test_the_right_file_is_kept_whatever_its_version_is_called(tmp_path, etag):
    send, _ = sender(CONTENT)
    fetch_verified(RemoteFile(len(CONTENT), etag, len(CONTENT)), tmp_path / NAME, send)
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert files(tmp_path) == [NAME]


@pytest.mark.parametrize(
    "body",
    [
        PAGE,
        PAGE * 500,
        PAGE.decode().encode("utf-16"),
        b'{"error": "rate limited"}',
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 10000\n",
        "<html>Гостиница</html>".encode(),
        b"",
        CONTENT[:-10],
        CONTENT + b"x",
        CONTENT * 3,
        random.Random(1).randbytes(len(CONTENT)),
    ],
)
@pytest.mark.parametrize("etag", [SHA256, ""])
@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_anything_else_is_refused_and_not_kept(tmp_path, body, etag, size):
    is_right_size = abs(len(body) - len(CONTENT)) <= 1000 if size is None else len(body) == size
    if not etag and is_right_size:
        pytest.skip("nothing tells these bytes from the right ones")
    (tmp_path / NAME).write_bytes(b"older")
    send, _ = sender(body)
    with pytest.raises(DownloadError, match="damaged on the way") as raised:
        fetch_verified(RemoteFile(size, etag, len(CONTENT)), tmp_path / NAME, send)
    assert "\n" not in str(raised.value)
    assert type(raised.value) is DownloadError
    assert (tmp_path / NAME).read_bytes() == b"older"
    assert files(tmp_path) == [NAME]


def test_an_endless_body_stops_at_the_stated_size(tmp_path):
    written = []

    def endless(file, arrived):
        while True:
            written.append(file.write(random.Random(0).randbytes(1000)))

    with pytest.raises(DownloadError, match="more than 10000 bytes"):
        fetch_verified(WITH_HASH, tmp_path / NAME, endless)
    assert sum(written) <= len(CONTENT)
    assert files(tmp_path) == []


def test_a_size_far_from_the_known_one_is_not_even_transferred(tmp_path):
    send, starts = sender(b"")
    for size in (27, 10**19):
        with pytest.raises(DownloadError, match="without a SHA-256"):
            fetch_verified(RemoteFile(size, "", 10_000), tmp_path / NAME, send)
    assert starts == []


@pytest.mark.parametrize(
    ("kept", "start"),
    [(CONTENT[:4000], 4000), (CONTENT, None), (CONTENT + b"x", 0), (PAGE, 0), (b"", 0)],
)
def test_only_a_useful_partial_file_is_resumed(tmp_path, kept, start):
    partial(tmp_path, kept)
    send, starts = sender(CONTENT)
    fetch_verified(WITH_HASH, tmp_path / NAME, send)
    assert starts == ([] if start is None else [start])
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert files(tmp_path) == [NAME]


def test_a_partial_file_of_another_content_starts_again(tmp_path):
    partial(tmp_path, random.Random(0).randbytes(4000))
    send, starts = sender(CONTENT)
    fetch_verified(WITH_HASH, tmp_path / NAME, send)
    assert starts == [4000, 0]
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_a_partial_file_of_another_version_is_removed(tmp_path):
    partial(tmp_path, CONTENT[:10], RemoteFile(5, "0" * 64, 5))
    (tmp_path / ".other.pt.0000.partial").write_bytes(b"of another file")
    send, _ = sender(CONTENT)
    fetch_verified(WITH_HASH, tmp_path / NAME, send)
    assert files(tmp_path) == [".other.pt.0000.partial", NAME]


def test_an_interruption_keeps_what_has_arrived(tmp_path):
    def interrupted(file, arrived):
        file.write(CONTENT[:3000])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_verified(WITH_HASH, tmp_path / NAME, interrupted)
    assert WITH_HASH.partial_path(tmp_path / NAME).read_bytes() == CONTENT[:3000]
    send, starts = sender(CONTENT)
    fetch_verified(WITH_HASH, tmp_path / NAME, send)
    assert starts == [3000]


def test_the_second_of_two_downloads_is_refused_and_the_first_is_right(tmp_path):
    send, _ = sender(CONTENT)

    def slow(file, arrived):
        with pytest.raises(OutputError, match="being downloaded by another process"):
            fetch_verified(WITH_HASH, tmp_path / NAME, send)
        send(file, arrived)

    fetch_verified(WITH_HASH, tmp_path / NAME, slow)
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert files(tmp_path) == [NAME]


def test_a_full_disk_is_said_before_the_transfer(tmp_path):
    send, starts = sender(CONTENT)
    with pytest.raises(OutputError, match="GB free, expected"):
        fetch_verified(RemoteFile(10**15, SHA256, 10**15), tmp_path / NAME, send)
    assert starts == []


def test_progress_reports_bytes_and_may_stop_the_transfer(tmp_path):
    seen = []
    send, _ = sender(CONTENT)
    fetch_verified(WITH_HASH, tmp_path / NAME, send, lambda *done: seen.append(done))
    assert seen[0] == (1000, 10_000)
    assert seen[-1] == (10_000, 10_000)


def test_text_is_recognized_in_any_alphabet_and_cut_anywhere():
    letters = "до свидания " * 50
    assert all(is_text(letters.encode()[:length]) for length in range(100, 110))
    assert not any(map(is_text, [b"", b"\x80\x02}q", CONTENT[:512], b"\x00\x00text"]))
