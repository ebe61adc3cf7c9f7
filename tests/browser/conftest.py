"""A real Chromium, and a real ComfyUI with this pack to open in it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Here and not in pyproject.toml, so that these tests are also found from the folder above.
TESTS = Path(__file__).resolve().parent.parent
sys.path.append(str(TESTS.parent / "tools"))

from comfy_install import ROOT, comfyui_path, reason_to_skip  # noqa: E402
from comfy_page import LEGIBLE, chromium, comfy_page, find_chromium  # noqa: E402
from comfy_server import ComfyServer  # noqa: E402

ARTEFACTS = ROOT / "outputs" / "browser"
CANVASES = {"classic": False, "nodes-2.0": True}
# Nodes 2.0 began without DOM widgets, on which text inputs and our panels rest.
SHOWS_PROMPTS = """async () => {
  const node = LiteGraph.createNode("HummingbirdEncodePrompt");
  app.graph.add(node);
  for (let tries = 0; tries < 50 && !document.querySelector("textarea"); tries++)
    await new Promise((done) => setTimeout(done, 200));
  const shown = document.querySelector("textarea") !== null;
  app.graph.remove(node);
  return shown;
}"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    browser = _reason_without_browser()
    for item in items:
        if ROOT / "tests" / "browser" in item.path.parents:
            needs_comfyui = {"server", "url"} & set(getattr(item, "fixturenames", ()))
            if reason := browser or (needs_comfyui and reason_to_skip()):
                item.add_marker(pytest.mark.skip(reason=reason))


def _reason_without_browser() -> str | None:
    if importlib.util.find_spec("playwright") is None:
        return "this Python lacks playwright: run tools/setup_comfyui.py"
    if find_chromium() is None:
        return (
            "no Chromium found: run tools/setup_comfyui.py, which says why it can't install one, "
            "or set CHROMIUM_PATH"
        )
    return None


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    with ComfyServer(comfyui_path(), tmp_path_factory.mktemp("comfyui") / "base") as running:
        yield running


@pytest.fixture(scope="session")
def url(server: ComfyServer) -> str:
    return server.url


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module", params=CANVASES)
def canvas(request: pytest.FixtureRequest) -> str:
    """The classic canvas, and Nodes 2.0."""
    return request.param


@pytest.fixture(scope="module")
def page(browser: Any, url: str, canvas: str) -> Iterator[Any]:
    """One for all tests of a canvas, since opening it is what takes longest."""
    settings = {**LEGIBLE, "Comfy_VueNodes_Enabled": CANVASES[canvas]}
    opened = comfy_page(browser, url, **settings)
    if not opened.evaluate(SHOWS_PROMPTS):
        pytest.skip("the Nodes 2.0 of this front end have no inputs for text yet")
    yield opened
    opened.close()


@pytest.fixture
def screenshot(request: pytest.FixtureRequest) -> Callable[[Any], Path]:
    """A function (page) -> file; kept under outputs/browser for people to look at."""
    ARTEFACTS.mkdir(parents=True, exist_ok=True)

    def take(page: Any) -> Path:
        path = ARTEFACTS / f"{request.node.name.translate(str.maketrans('[]', '__'))}.png"
        page.screenshot(path=path)
        return path

    return take
