"""The reference pages match the parsers, the docstrings and the texts of the nodes."""

from __future__ import annotations

import pytest

from tools.make_reference import FOLDER, pages


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "100")  # argparse reads it
        return pages()


@pytest.mark.parametrize("name", ["command-line.md", "python.md", "nodes.md"])
def test_the_page_is_current(made, name):
    saved = (FOLDER / name).read_text(encoding="utf-8")
    assert saved == made[name], "run tools/make_reference.py"


def test_no_page_is_left_over(made):
    assert {path.name for path in FOLDER.glob("*.md")} == set(made)
