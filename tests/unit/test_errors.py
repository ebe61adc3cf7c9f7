"""One line that tells a user what is wrong."""

import pytest

from hummingbird_core.errors import first_line, one_line


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
