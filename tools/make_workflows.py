"""Make workflows/*.json and their pictures from workflow_graphs.py, with ComfyUI's own front end.

    python tools/make_workflows.py http://127.0.0.1:8188     a running ComfyUI that has this pack

Use the oldest ComfyUI that we support: newer front ends read what older ones wrote, not always the
other way round. Needs playwright and a Chromium.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from comfy_page import chromium, comfy_page, fit_view
from workflow_graphs import WORKFLOWS, Workflow, numbered

FOLDER = Path(__file__).resolve().parent.parent / "workflows"
SIZE = (1280, 760)  # of the page in pixels
PICTURE = {"x": 80, "y": 90, "width": 1180, "height": 560}  # without the bars around the canvas
LEGIBLE = {"Comfy_Minimap_Visible": False, "LiteGraph_Canvas_LowQualityRenderingZoomThreshold": 0.1}

MAKE = """async ([name, graph, note]) => {
  await app.loadApiJson(graph, name);
  for (const node of app.graph._nodes)
    for (const widget of node.widgets ?? [])
      if (widget.name === "control_after_generate") widget.value = "fixed";
  app.graph.arrange(80);
  const [x, y] = app.graph._nodes.reduce(
    (corner, node) => corner.map((value, i) => Math.min(value, node.pos[i])), [Infinity, Infinity]);
  const text = LiteGraph.createNode("MarkdownNote");
  app.graph.add(text);
  text.widgets[0].value = note;
  text.setSize([420, 240]);
  text.pos = [x, y - 300];
  return JSON.stringify(app.graph.serialize());
}"""


def main() -> int:
    """Make all workflows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("server", help="its address, such as http://127.0.0.1:8188")
    server = parser.parse_args().server
    with chromium() as browser:
        page = comfy_page(browser, server, SIZE, **LEGIBLE)
        for name, workflow in WORKFLOWS.items():
            make(page, name, workflow)
    return 0


def make(page: Any, name: str, workflow: Workflow) -> None:
    """Write one workflow and its picture."""
    saved = json.loads(page.evaluate(MAKE, [name, numbered(workflow.graph), workflow.note]))
    text = json.dumps(saved, indent=2, ensure_ascii=False)
    (FOLDER / f"{name}.json").write_text(f"{text}\n", encoding="utf-8")
    fit_view(page, PICTURE)
    page.wait_for_timeout(1500)  # until the canvas is drawn again
    page.screenshot(path=FOLDER / f"{name}.jpg", type="jpeg", quality=80, clip=PICTURE)


if __name__ == "__main__":
    sys.exit(main())
