"""A real ComfyUI with this pack, opened in a real Chromium."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

# Here and not in pytest.ini, so that these tests are also found from the folder above.
TESTS = Path(__file__).resolve().parent.parent
sys.path += [str(TESTS / "comfy"), str(TESTS.parent / "tools")]

from comfy_install import ROOT, comfyui_path, reason_to_skip  # noqa: E402
from comfy_page import comfy_page, find_chromium  # noqa: E402
from comfy_server import ComfyServer  # noqa: E402

ARTEFACTS = ROOT / "outputs" / "browser"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = reason_to_skip() or _reason_without_browser()
    for item in items:
        if reason and ROOT / "tests" / "browser" in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=reason))


def _reason_without_browser() -> str | None:
    if importlib.util.find_spec("playwright") is None:
        return "this Python lacks playwright: pip install playwright"
    if find_chromium() is None:
        return (
            "no Chromium found: install one (on Debian: apt install chromium), or set CHROMIUM_PATH"
        )
    return None


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    with ComfyServer(comfyui_path(), tmp_path_factory.mktemp("comfyui") / "base") as running:
        yield running


@pytest.fixture(scope="session")
def url(server: ComfyServer) -> str:
    return f"http://127.0.0.1:{server.port}"


@pytest.fixture
def open_page(url: str) -> Iterator[Callable[..., Any]]:
    """A function (settings) -> page; pages are closed after the test."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(comfy_page(url, **settings))


@pytest.fixture
def screenshot(request: pytest.FixtureRequest) -> Callable[[Any], Path]:
    """A function (page) -> file; kept under outputs/browser for people to look at."""
    ARTEFACTS.mkdir(parents=True, exist_ok=True)

    def take(page: Any) -> Path:
        path = ARTEFACTS / f"{request.node.name.translate(str.maketrans('[]', '__'))}.png"
        page.screenshot(path=path)
        return path

    return take
