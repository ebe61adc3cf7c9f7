"""One line that tells a user what is wrong."""

import importlib.util
import pickle
import sys

import pytest

from hummingbird_core import errors
from hummingbird_core.errors import HummingbirdError, InputError, first_line, one_line


def test_comfyui_shows_no_path_of_the_users_disk(monkeypatch):
    # ComfyUI imports a custom node under the name of its folder.
    name = "/home/user/ComfyUI/custom_nodes/hummingbird.errors"
    spec = importlib.util.spec_from_file_location(name, errors.__file__)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    kinds = [kind for kind in vars(module).values() if isinstance(kind, type)]
    assert len(kinds) == 8
    assert {kind.__module__ for kind in kinds} == {"hummingbird_core.errors"}


def test_errors_travel_between_processes():
    error = pickle.loads(pickle.dumps(InputError("got 0 frames")))
    assert type(error) is InputError
    assert isinstance(error, HummingbirdError)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("\n  no such file\nat line 3"), "no such file"),
        (ValueError("  \n"), "ValueError"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
    ],
)
def test_the_first_line_of_another_librarys_error(error, expected):
    assert first_line(error) == expected


def test_a_long_message_becomes_one_line_of_limited_length():
    assert one_line(ValueError("bad\n  line")) == "bad line"
    assert one_line(ValueError()) == "ValueError"
    assert one_line(ValueError("x" * 300), max_length=100) == "x" * 97 + "..."
