"""The page of `tools/make_web_demo.py` in a Chromium: size, time, and equality with the runner.

    hummingbird export nano -o outputs/nano-web --to onnx --dtype fp16-weights --decoder middle
    python tools/make_web_demo.py outputs/nano-web -o outputs/site
    python benchmarks/scripts/web_demo.py outputs/site -o benchmarks/results/web-demo \
        --screenshot docs/images/web-demo.png

Needs playwright and onnxruntime. Times are CPU seconds of all of the browser's processes, which
other work on the machine hardly changes, besides seconds.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from recording import write_results

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tools"))

PHONE = {"width": 390, "height": 760}
SECONDS = 600  # on a busy machine
VIDEOS = ((0, 4), (1, 4), (2, 4), (3, 2))  # seed and steps
MAKE = """([seed, steps]) => {
  document.getElementById("seed").value = seed;
  document.getElementById("steps").value = steps;
  document.getElementById("make").click();
}"""
READY = "() => !document.getElementById('make').disabled"
VIDEO = """async () => {
  const {video} = await import("./page.js");
  return video.frames.map((frame) => [...frame]);
}"""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Yield the address of a folder on this machine."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("localhost", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()


def cpu_seconds() -> float:
    """Return the CPU seconds of all processes that this one has started and that run."""
    return sum(sum(child.cpu_times()[:2]) for child in psutil.Process().children(recursive=True))


def timed(name: str, function: Callable[[], Any]) -> dict[str, Any]:
    wall, cpu = time.perf_counter(), cpu_seconds()
    function()
    return {"what": name, "CPU s": cpu_seconds() - cpu, "s": time.perf_counter() - wall}


def open_page(page: Any, address: str) -> None:
    page.goto(address)
    page.wait_for_function(READY)


def make(page: Any, seed: int, steps: int) -> None:
    page.evaluate(MAKE, [str(seed), str(steps)])
    page.wait_for_function(READY)


def measure(page: Any, address: str, site: Path) -> list[dict[str, Any]]:
    """Return a row for each load and video, with the distance from the runner's frames."""
    from hummingbird_core.export.check import relative_distance
    from hummingbird_core.runtime.pipeline import ExportedPipeline

    runner, rows = ExportedPipeline(site / "model", "onnx"), []
    rows.append({**timed("first visit", lambda: open_page(page, address)), "distance": "-"})
    for seed, steps in VIDEOS:
        name = f"{'first' if not seed else 'another'} video, {steps} steps"
        row = timed(name, functools.partial(make, page, seed, steps))
        frames = np.array(page.evaluate(VIDEO), np.float32)
        settings = {"seed": seed, "num_inference_steps": steps}
        expected = runner(page.input_value("#prompt"), **settings).frames[0].astype(np.float32)
        got = frames.reshape(*expected.shape[:3], 4)[..., :3]
        rows.append({**row, "distance": f"{relative_distance(got, expected):.1e}"})
    page.context.set_offline(True)
    rows.append({**timed("next visit, offline", lambda: open_page(page, address)), "distance": "-"})
    return rows


def main() -> None:
    from comfy_page import chromium

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("site", type=Path, help="the folder that tools/make_web_demo.py wrote")
    parser.add_argument("-o", "--output", type=Path, help="writes .json and .md")
    parser.add_argument("--screenshot", type=Path)
    args = parser.parse_args()
    size = sum(path.stat().st_size for path in args.site.rglob("*") if path.is_file())
    with chromium() as browser, served(args.site) as address:
        page = browser.new_context(viewport=PHONE, device_scale_factor=2).new_page()
        page.set_default_timeout(1000 * SECONDS)
        rows = measure(page, address, args.site)
        if args.screenshot:
            page.context.set_offline(False)
            make(page, 0, 4)
            page.screenshot(path=args.screenshot)
        version = browser.version
    result = {
        "command": " ".join(["python", *sys.argv]),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Chromium {version}",
        "bytes": size,
        "rows": rows,
    }
    write_results(args.output, result, rows)


if __name__ == "__main__":
    main()
