"""The page of web-demo in a real Chromium: a seed is the video of the runner without PyTorch."""

from __future__ import annotations

import functools
import http.server
import io
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from make_web_demo import MAX_BYTES, make_site
from PIL import Image, ImageSequence
from support.exported import SHAPE, random_pipeline

from hummingbird_core.errors import CheckpointError, InputError, OutputError
from hummingbird_core.export.check import relative_distance
from hummingbird_core.export.run import ExportConfig, export_model
from hummingbird_core.runtime.pipeline import ExportedPipeline

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason=f"needs the package {package}: run tools/setup_comfyui.py")
if shutil.which("npm") is None:
    pytest.skip("needs npm on the PATH, for ONNX Runtime Web", allow_module_level=True)

PROMPT, SEED, STEPS = "a red circle moves right", 2**33 + 7, 3
SECONDS = 240  # on a busy machine
PHONE = {"width": 360, "height": 640}
MAKE = """async ({prompt, seed, steps}) => {
  for (const [id, value] of Object.entries({prompt, seed, steps}))
    document.getElementById(id).value = value;
  document.getElementById("make").click();
}"""
DONE = """() => {
  const {classList, textContent} = document.getElementById("status");
  return classList.contains("error") || textContent.startsWith("Made in");
}"""
FRAMES = """async () => {
  const {video} = await import("./page.js");
  return video.frames.map((frame) => [...frame]);
}"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "model"
    export_model(random_pipeline(), folder, SHAPE, ExportConfig(dtype="fp16-weights"))
    return folder


@pytest.fixture(scope="module")
def site(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages") / "site"
    try:
        size = make_site(exported, folder)
    except InputError as error:
        if "npm cannot fetch" in str(error):
            pytest.skip(f"no network: {error}")
        raise
    assert size <= MAX_BYTES
    return folder


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("localhost", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    context = browser.new_context(viewport=PHONE, accept_downloads=True)
    context.set_default_timeout(1000 * SECONDS)
    yield context.new_page()
    context.close()


def open_page(page: Any, address: str) -> None:
    page.goto(address)
    page.wait_for_selector("#make:enabled")


def make_video(page: Any, **changes: Any) -> str:
    """Make a video and return the page's line on it."""
    page.evaluate(MAKE, {"prompt": PROMPT, "seed": str(SEED), "steps": STEPS, **changes})
    page.wait_for_function(DONE)
    return page.inner_text("#status")


def frames_of(page: Any) -> np.ndarray:
    rgba = np.array(page.evaluate(FRAMES), np.uint8)
    return rgba.reshape(-1, SHAPE.height, SHAPE.width, 4)[..., :3]


def expected_frames(exported: Path, **changes: Any) -> np.ndarray:
    settings = {"num_frames": SHAPE.num_frames, "num_inference_steps": STEPS, "seed": SEED}
    return ExportedPipeline(exported, "onnx")(PROMPT, **{**settings, **changes}).frames[0]


def test_a_seed_is_the_runners_video_also_offline_and_as_a_gif(page, address, exported):
    open_page(page, address)
    assert make_video(page).startswith("Made in")
    expected = expected_frames(exported)
    assert relative_distance(frames_of(page).astype(float), expected.astype(float)) < 1e-2
    with page.expect_download() as saved:
        page.click("#save")
    gif = Image.open(io.BytesIO(Path(saved.value.path()).read_bytes()))
    frames = [np.array(image.convert("RGB")) for image in ImageSequence.Iterator(gif)]
    assert (gif.info["loop"], gif.info["duration"]) == (0, 130)  # hundredths of a second
    # 256 colours a frame, of 512 pixels.
    assert np.abs(np.stack(frames).astype(int) - expected).mean() < 8

    page.context.set_offline(True)
    open_page(page, address)
    assert make_video(page, steps=1, seed="0").startswith("Made in")
    again = expected_frames(exported, num_inference_steps=1, seed=0)
    assert relative_distance(frames_of(page).astype(float), again.astype(float)) < 1e-2


def test_it_fits_a_phone_and_says_what_is_wrong(page, address, screenshot):
    open_page(page, address)
    assert "circle" in page.text_content("#words")
    line = 'got seed "-1", expected a whole number from 0 to 2^64 - 1'
    assert line in make_video(page, seed="-1")
    page.evaluate("document.getElementById('steps').value = 51")
    assert not page.evaluate("document.getElementById('form').checkValidity()")
    make_video(page, prompt="an xylophone", steps=1)
    assert "Words unknown to this model: xylophone" in page.inner_text("#notes")
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= PHONE["width"]
    screenshot(page)


def test_a_browser_without_simd_says_so_in_a_line(page, address):
    page.add_init_script("WebAssembly.validate = () => false")
    page.goto(address)
    page.wait_for_function(DONE)
    assert "lacks WebAssembly SIMD: use" in page.inner_text("#status")
    assert page.is_disabled("#make")


def test_an_incomplete_site_says_so_in_a_line(page, address, site):
    file = site / "model" / "unet.onnx"
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    try:
        page.goto(address)
        page.wait_for_function(DONE)
        assert "bytes of unet.onnx, expected" in page.inner_text("#status")
        assert page.is_disabled("#make")
    finally:
        file.write_bytes(whole)


def test_a_page_replaces_an_earlier_one_only(exported, site, tmp_path):
    (tmp_path / "photo.png").write_bytes(b"mine")
    with pytest.raises(OutputError, match="is no page of this tool"):
        make_site(exported, tmp_path)
    with pytest.raises(CheckpointError, match="expected the folder of an exported model"):
        make_site(tmp_path, site)
    before = {path.name for path in site.iterdir()}
    make_site(exported, site)
    assert {path.name for path in site.iterdir()} == before
