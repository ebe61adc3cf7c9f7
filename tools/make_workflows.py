"""Make the pictures of workflows/*.json, and the files themselves, with ComfyUI's own front end.

    .comfyui/venv/bin/python tools/make_workflows.py            the pictures
    .comfyui/venv/bin/python tools/make_workflows.py --files    the files, too
    .comfyui/venv/bin/python tools/make_workflows.py NAME ...   of these only

A server is started for it. Pictures show results where the built-in model makes them: remake them
when it has new weights. Files come from workflow_graphs.py; make them with the oldest ComfyUI that
we support (COMFYUI_PATH): newer front ends read what older ones wrote, not always the other way
round.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from comfy_install import comfyui_path
from comfy_page import LEGIBLE, chromium, comfy_page, fit_view
from comfy_server import ComfyServer
from workflow_graphs import BIG, INTERPOLATOR, LORA, UPSCALER, WORKFLOWS, Workflow, numbered

FOLDER = Path(__file__).resolve().parent.parent / "workflows"
SIZE = (1280, 900)  # of the page in pixels
PICTURE = {"x": 80, "y": 90, "width": 1180, "height": 560}  # without the bars around the canvas

MAKE = """async ([name, graph, note]) => {
  await app.loadApiJson(graph, name);
  for (const node of app.graph._nodes)
    for (const widget of node.widgets ?? [])
      if (widget.name === "control_after_generate") widget.value = "fixed";
  app.graph.arrange(80);
  const [x, y] = app.graph._nodes.reduce(
    (corner, node) => corner.map((value, i) => Math.min(value, node.pos[i])), [Infinity, Infinity]);
  // Newer releases give some nodes more inputs: room for them above what is not in the first row.
  for (const node of app.graph._nodes) if (node.pos[1] > y) node.pos[1] += 140;
  const text = LiteGraph.createNode("MarkdownNote");
  app.graph.add(text);
  text.widgets[0].value = note;
  text.setSize([420, 240]);
  text.pos = [x, y - 300];
}"""
# A video that has just been made shows how it is loaded; one that is told where to stand does not.
SHOW_MIDDLE = """() => Promise.all([...document.querySelectorAll("video")].map(
  (video) => new Promise((done) => {
    video.controls = false;
    video.pause();
    video.onseeked = done;
    video.currentTime = video.duration / 2;
  })))"""


def main() -> int:
    """Make all pictures, and the files if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", action="store_true", help="also make the workflows themselves")
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = ComfyServer(comfyui_path(), Path(folder, "base"))
        _stand_in_for_files_of_users(server.folder / "models")
        with server, chromium() as browser:
            page = comfy_page(browser, server.url, SIZE, **LEGIBLE)
            for name in args.names or WORKFLOWS:
                workflow = WORKFLOWS[name]
                if args.files:
                    write_file(page, name, workflow)
                take_picture(page, server, name, workflow)
    return 0


def _stand_in_for_files_of_users(models: Path) -> None:
    """Create empty files: without them the front end marks their loaders as broken."""
    folders = {"checkpoints": BIG, "loras": LORA}
    folders |= {"frame_interpolation": INTERPOLATOR, "upscale_models": UPSCALER}
    for path in (models / folder / name for folder, name in folders.items()):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def write_file(page: Any, name: str, workflow: Workflow) -> None:
    """Return a workflow in the format in which the front end saves it."""
    page.evaluate(MAKE, [name, numbered(workflow.graph), workflow.note])
    fit_view(page, PICTURE)  # the view is saved, too
    saved = json.loads(page.evaluate("() => JSON.stringify(app.graph.serialize())"))
    text = json.dumps(saved, indent=2, ensure_ascii=False)
    (FOLDER / f"{name}.json").write_text(f"{text}\n", encoding="utf-8")


def take_picture(page: Any, server: ComfyServer, name: str, workflow: Workflow) -> None:
    """Take a picture of a workflow, with its result if it needs no download."""
    saved = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    page.evaluate("(workflow) => app.loadGraphData(workflow)", saved)
    page.wait_for_timeout(1000)
    if workflow.runs_offline:
        fit_view(page, PICTURE)  # what is out of sight shows nothing
        page.evaluate("() => app.queuePrompt(0)")
        page.wait_for_selector("video", state="attached")
        while any(server.get("/queue").values()):
            time.sleep(0.5)
        page.wait_for_timeout(1000)  # the last of several videos is shown a little later
        page.get_by_text("Job completed").wait_for(state="hidden")
        page.evaluate(SHOW_MIDDLE)
    fit_view(page, PICTURE)
    page.wait_for_timeout(1500)  # until the canvas is drawn again
    page.screenshot(path=FOLDER / f"{name}.jpg", type="jpeg", quality=80, clip=PICTURE)


if __name__ == "__main__":
    sys.exit(main())
