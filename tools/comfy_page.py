"""ComfyUI's front end in a real Chromium, for the browser tests and for making the workflows."""

from __future__ import annotations

import json
import os
import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
# A container has neither a sandbox, nor a GPU, nor much shared memory.
OPTIONS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
READY = "() => window.app?.graph && window.app?.extensionManager && window.app?.canvas"
SECONDS = 300  # on a busy machine
# For screenshots: all is drawn however small it is, and nothing lies on the graph.
LEGIBLE = {
    "Comfy_Locale": "en",
    "Comfy_Minimap_Visible": False,
    "LiteGraph_Canvas_LowQualityRenderingZoomThreshold": 0.1,
}
FIT = """({x, y, width, height}) => {
  const boxes = app.graph._nodes.map((node) => [...node.getBounding()]);
  const left = Math.min(...boxes.map((b) => b[0])), top = Math.min(...boxes.map((b) => b[1]));
  const right = Math.max(...boxes.map((b) => b[0] + b[2]));
  const bottom = Math.max(...boxes.map((b) => b[1] + b[3]));
  const scale = Math.min(width / (right - left + 40), height / (bottom - top + 40));
  const page = app.canvas.canvas.getBoundingClientRect();
  app.canvas.ds.scale = scale;
  app.canvas.ds.offset = [
    (x - page.x + width / 2) / scale - (left + right) / 2,
    (y - page.y + height / 2) / scale - (top + bottom) / 2];
  app.graph.setDirtyCanvas(true, true);
}"""


def find_chromium() -> str | None:
    """Return CHROMIUM_PATH, the first Chromium on the PATH, or playwright's."""
    return os.environ.get("CHROMIUM_PATH") or chromium_on_path() or _chromium_of_playwright()


def chromium_on_path() -> str | None:
    """Return a Chromium that the system or its user has installed."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def _chromium_of_playwright() -> str | None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


@contextmanager
def chromium() -> Iterator[Any]:
    """Yield a playwright Browser; playwright allows one per thread."""
    from playwright.sync_api import sync_playwright

    path = find_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=OPTIONS)
        yield browser
        browser.close()


def comfy_page(browser: Any, url: str, size: tuple[int, int] = (1280, 800), **settings: Any) -> Any:
    """Yield a playwright Page of the server at `url`, with an empty graph and ready for use.

    Args:
        browser: of `chromium`.
        url: without a slash at its end.
        size: in pixels, width and height.
        settings: ComfyUI's, with `_` for the dots of their ids. The server remembers them.
    """
    # Otherwise a first visit opens the template browser.
    for name, value in {"Comfy_TutorialCompleted": True, **settings}.items():
        _set(url, name.replace("_", "."), value)
    page = browser.new_page(viewport={"width": size[0], "height": size[1]})
    page.set_default_timeout(1000 * SECONDS)
    page.goto(url)
    page.wait_for_function(READY)
    return page


def fit_view(page: Any, area: dict[str, int]) -> None:
    """Fit the whole graph into `area` of the page, in pixels: x, y, width, height."""
    page.evaluate(FIT, area)


def _set(url: str, setting: str, value: Any) -> None:
    body = json.dumps(value).encode()
    request = urllib.request.Request(f"{url}/api/settings/{setting}", body)
    urllib.request.urlopen(request, timeout=60).close()
