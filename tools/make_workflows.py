"""Make the pictures of workflows/*.json, and the files themselves, in a real ComfyUI.

    .comfyui/venv/bin/python tools/make_workflows.py            the pictures
    .comfyui/venv/bin/python tools/make_workflows.py --files    the files, too
    .comfyui/venv/bin/python tools/make_workflows.py NAME ...   of these only

A server is started for it. A picture shows the result where the built-in model makes it: remake
these when it has new weights. The others show the graph, as does docs/images/comfyui-graph.jpg for
the first workflow; they and the files come from ComfyUI's own front end, in Chromium. Workflows
that failed are named at the end, after all others. The source of the files is example_workflows.py;
subgraphs/ has the first one as a blueprint. Make the files with the oldest ComfyUI that we support
(COMFYUI_PATH): newer front ends read what older ones wrote, not always the other way round.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from blueprint import NAME as BLUEPRINT_NAME
from blueprint import blueprint
from comfy_install import comfyui_path
from comfy_page import LEGIBLE, chromium, comfy_page, fit_view
from comfy_server import ComfyServer
from example_workflows import BIG_SOURCE, FIRST, WORKFLOWS, Workflow
from PIL import Image
from workflow_graphs import BIG, INTERPOLATOR, LORA, UPSCALER, numbered

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "workflows"
BLUEPRINT = ROOT / "subgraphs" / f"{BLUEPRINT_NAME}.json"
GRAPH_PICTURE = ROOT / "docs" / "images" / "comfyui-graph.jpg"
SIZE = (1280, 900)  # of the page in pixels
PICTURE = {"x": 80, "y": 90, "width": 1180, "height": 560}  # without the bars around the canvas
COLUMNS, ROWS = 3, 2  # frames of a result
FRAME_WIDTH = 256  # in pixels
QUALITY = 80  # of the pictures

# Nodes that show results grow when they have run: they come last in their column, with room below
# them, and the note stands above all.
MAKE = """async ([name, graph, note, source, app_view]) => {
  const GROWING = new Set(["HummingbirdBestOfN", "HummingbirdVQAScore", "SaveVideo"]);
  const GAP = 80, ROOM = 140, RESULT = 560; // inputs that newer releases add; a sheet and scores
  await app.loadApiJson(graph, name);
  const nodes = [...app.graph._nodes];
  for (const node of nodes)
    for (const widget of node.widgets ?? [])
      if (widget.name === "control_after_generate") widget.value = "randomize";
  app.graph.arrange(GAP);
  const [left, top] = nodes.reduce(
    (corner, node) => corner.map((value, i) => Math.min(value, node.pos[i])), [Infinity, Infinity]);
  const columns = Map.groupBy(nodes, (node) => node.pos[0]);
  for (const column of columns.values()) {
    column.sort((a, b) => GROWING.has(a.type) - GROWING.has(b.type) || a.pos[1] - b.pos[1]);
    let y = top;
    for (const node of column) {
      node.pos[1] = y;
      y += node.size[1] + (GROWING.has(node.type) ? RESULT : ROOM);
    }
  }
  const text = LiteGraph.createNode("MarkdownNote");
  app.graph.add(text);
  text.widgets[0].value = note;
  text.setSize([420, 260]);
  text.pos = [left, top - 320];
  app.graph.extra.linearData = app_view;
  if (!source) return;
  const loader = nodes.find((node) => node.type === "HummingbirdLoad");
  loader.properties.models = [source];
  const download = LiteGraph.createNode("HummingbirdDownload");
  app.graph.add(download);
  download.mode = 2; // muted
  download.pos = [left + 460, top - 320];
}"""


def main() -> int:
    """Make the chosen workflows; 1 if a workflow failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", action="store_true", help="also make the workflows themselves")
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    args = parser.parse_args()
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        server = ComfyServer(comfyui_path(), Path(folder, "base"))
        _stand_in_for_files_of_users(server.folder / "models")
        with server, Window(server) as window:
            for name in args.names or WORKFLOWS:
                try:
                    make(server, window, name, with_file=args.files)
                    sys.stdout.write(f"{name}: made\n")
                except Exception as error:  # the next ones may work
                    failed.append(name)
                    sys.stderr.write(f"{name}: {error}\n")
                    window.close()
    if failed:
        sys.stderr.write(f"make_workflows: error: make these again: {' '.join(failed)}\n")
    return bool(failed)


def make(server: ComfyServer, window: Window, name: str, with_file: bool) -> None:
    """Make the picture of a workflow, and its file if asked to."""
    workflow = WORKFLOWS[name]
    if with_file:
        saved = saved_workflow(window.page, name, workflow)
        _write_json(FOLDER / f"{name}.json", saved)
        if name == FIRST:
            _write_json(BLUEPRINT, blueprint(saved))
    picture = FOLDER / f"{name}.jpg"
    if workflow.runs_offline:
        result_picture(server, workflow).save(picture, quality=QUALITY)
    if name == FIRST or not workflow.runs_offline:
        save_graph_picture(window.page, name, GRAPH_PICTURE if name == FIRST else picture)


class Window(ExitStack):
    """The front end in a Chromium, opened on first use, and again after `close`."""

    def __init__(self, server: ComfyServer):
        super().__init__()
        self.server = server
        self.opened: Any = None

    @property
    def page(self) -> Any:
        """A playwright Page."""
        if self.opened is None:
            browser = self.enter_context(chromium())
            self.opened = comfy_page(browser, self.server.url, SIZE, **LEGIBLE)
        return self.opened

    def close(self) -> None:
        """Close it."""
        self.opened = None
        super().close()


def _stand_in_for_files_of_users(models: Path) -> None:
    """Create empty files: without them the front end marks their loaders as broken."""
    folders = {"checkpoints": BIG, "loras": LORA}
    folders |= {"frame_interpolation": INTERPOLATOR, "upscale_models": UPSCALER}
    for path in (models / folder / name for folder, name in folders.items()):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def saved_workflow(page: Any, name: str, workflow: Workflow) -> dict[str, Any]:
    """Return a workflow in the format in which the front end saves it."""
    source = BIG_SOURCE if workflow.needs_checkpoint else None
    given = [name, numbered(workflow.graph), workflow.note, source, workflow.app]
    page.evaluate(MAKE, given)
    fit_view(page, PICTURE)  # the view is saved, too
    return json.loads(page.evaluate("() => JSON.stringify(app.graph.serialize())"))


def _write_json(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    path.write_text(f"{text}\n", encoding="utf-8")


def result_picture(server: ComfyServer, workflow: Workflow) -> Image.Image:
    """Run a workflow and return frames of its video; of several, one row of each."""
    outputs = server.run(workflow.graph)
    (save,) = (n for n, node in workflow.graph.items() if node["class_type"] == "SaveVideo")
    videos = [_video_frames(file) for file in server.output_files(outputs, save)]
    each = COLUMNS if len(videos) > 1 else COLUMNS * ROWS
    frames = [video[i] for video in videos for i in _evenly(len(video), each)]
    rows = [np.concatenate(frames[i : i + COLUMNS], 1) for i in range(0, len(frames), COLUMNS)]
    sheet = Image.fromarray(np.concatenate(rows))
    scale = FRAME_WIDTH / frames[0].shape[1]
    size = (round(scale * sheet.width), round(scale * sheet.height))
    return sheet.resize(size, Image.Resampling.BICUBIC)


def _evenly(count: int, chosen: int) -> list[int]:
    return np.linspace(0, count - 1, chosen).round().astype(int).tolist()


def _video_frames(file: Path) -> list[np.ndarray]:
    import av

    with av.open(str(file)) as video:
        return [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]


def save_graph_picture(page: Any, name: str, path: Path) -> None:
    """Save a picture of the graph."""
    saved = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    page.evaluate("(workflow) => app.loadGraphData(workflow)", saved)
    page.wait_for_timeout(1000)
    fit_view(page, PICTURE)
    page.wait_for_timeout(1500)  # until the canvas is drawn again
    page.screenshot(path=path, type="jpeg", quality=QUALITY, clip=PICTURE)


if __name__ == "__main__":
    sys.exit(main())
