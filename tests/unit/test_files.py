"""Files appear whole or not at all."""

import pytest

from hummingbird_core.errors import InputError, OutputError
from hummingbird_core.files import atomic_write


def test_a_file_appears_under_its_name_when_it_is_complete(tmp_path):
    path = tmp_path / "new folder" / "clip.mp4"
    with atomic_write(path) as temporary:
        temporary.write_bytes(b"all of it")
        assert not path.exists()
        assert temporary.parent == path.parent
        assert temporary.suffix == ".mp4"
    assert [file.read_bytes() for file in path.parent.iterdir()] == [b"all of it"]


def fail_after_half(path, error, *, as_folder=False):
    with atomic_write(path) as temporary:
        if as_folder:
            temporary.mkdir()
        (temporary / "00000.png" if as_folder else temporary).write_text("half")
        raise error


def test_an_interrupted_write_leaves_the_older_file(tmp_path):
    path = tmp_path / "losses.jsonl"
    path.write_text("older")
    with pytest.raises(KeyboardInterrupt):
        fail_after_half(path, KeyboardInterrupt)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["older"]


def test_a_half_written_folder_is_removed(tmp_path):
    with pytest.raises(InputError, match="bad frame"):
        fail_after_half(tmp_path / "clip", InputError("bad frame"), as_folder=True)
    assert not list(tmp_path.iterdir())


def test_a_refused_write_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OutputError, match=r"cannot write .*choose another folder"):
        fail_after_half(tmp_path / "file" / "clip.mp4", InputError("never reached"))
