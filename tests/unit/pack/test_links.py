"""Relative links in the documentation lead to files of the repository."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.paths import ROOT

FOLDERS = (".", ".github", "benchmarks", "benchmarks/results", "hummingbird_core/assets")
PAGES = sorted(
    {page for folder in FOLDERS for page in (ROOT / folder).glob("*.md")}
    | {page for folder in ("docs", "hummingbird_core") for page in (ROOT / folder).rglob("*.md")}
)
# Code blocks and code spans hold no links.
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_leads_to_a_file(page):
    text = CODE.sub("", page.read_text(encoding="utf-8"))
    targets = [t for t in LINK.findall(text) if not re.match(r"[a-z]+:|#", t)]
    broken = [t for t in targets if not (page.parent / t.partition("#")[0]).exists()]
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_to_a_heading_leads_to_one(page):
    text = CODE.sub("", page.read_text(encoding="utf-8"))
    for target in LINK.findall(text):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target) or not anchor:
            continue
        other = (page.parent / path) if path else page
        assert anchor in anchors(other.read_text(encoding="utf-8")), target


def anchors(text: str) -> set[str]:
    """Names of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
