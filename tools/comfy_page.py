"""ComfyUI's front end in a real Chromium, for the browser tests and for making the workflows."""

from __future__ import annotations

import json
import os
import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
# A container has neither a sandbox, nor a GPU, nor much shared memory.
OPTIONS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
READY = "() => window.app?.graph && window.app?.extensionManager && window.app?.canvas"
SECONDS = 120  # on a busy machine


def find_chromium() -> str | None:
    """CHROMIUM_PATH, or the first Chromium on the PATH."""
    return os.environ.get("CHROMIUM_PATH") or next(filter(None, map(shutil.which, BROWSERS)), None)


@contextmanager
def comfy_page(url: str, size: tuple[int, int] = (1280, 800), **settings: Any) -> Iterator[Any]:
    """A page of the server at `url`, ready for use; `settings` with `_` for the dots of their ids.

    Yields a playwright Page with an empty graph.
    """
    from playwright.sync_api import sync_playwright

    # Otherwise a first visit opens the template browser.
    for name, value in {"Comfy_TutorialCompleted": True, **settings}.items():
        _set(url, name.replace("_", "."), value)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=OPTIONS)
        page = browser.new_page(viewport={"width": size[0], "height": size[1]})
        page.set_default_timeout(1000 * SECONDS)
        page.goto(url)
        page.wait_for_function(READY)
        yield page
        browser.close()


def _set(url: str, setting: str, value: Any) -> None:
    body = json.dumps(value).encode()
    request = urllib.request.Request(f"{url}/api/settings/{setting}", body)
    urllib.request.urlopen(request, timeout=60).close()
