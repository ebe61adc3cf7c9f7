"""The extension, the help pages, the languages and the workflows, as a user sees them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from comfy_graphs import NANO
from comfy_install import ROOT

WORKFLOWS = {path.stem: path for path in sorted((ROOT / "workflows").glob("*.json"))}
SMALL = {"width": 64, "height": 64, "frames": 4, "steps": 1, "count": 2, "checkpoint": NANO}
CANVASES = {"classic": False, "nodes-2.0": True}

# The server keeps results, and a page hears only of what is computed anew: another seed each.
SEEDS = {"classic": 1, "nodes-2.0": 2}

OPEN = """async ([workflow, values]) => {
  await app.loadGraphData(workflow);
  for (const node of app.graph._nodes)
    for (const widget of node.widgets ?? [])
      if (widget.name in values) widget.value = values[widget.name];
  const types = app.graph._nodes.map((node) => node.type);
  return types.filter((type) => !(type in LiteGraph.registered_node_types));
}"""
PROGRESS = """async (value) => {
  const { api } = await import("/scripts/api.js");
  const { id } = app.graph._nodes.find((node) => node.type === "HummingbirdDownload");
  const detail = { node: String(id), value, max: 4800, prompt_id: "" };
  api.dispatchEvent(new CustomEvent("progress", { detail }));
}"""


def _open(page: Any, name: str, seed: int = 0) -> list[str]:
    """Opens a workflow at a small size; the types of nodes that are missing."""
    workflow = json.loads(WORKFLOWS[name].read_text(encoding="utf-8"))
    return page.evaluate(OPEN, [workflow, {**SMALL, "seed": seed}])


@pytest.fixture(params=CANVASES)
def canvas(request: pytest.FixtureRequest) -> str:
    """The classic canvas, and Nodes 2.0."""
    return request.param


@pytest.fixture
def page(canvas: str, open_page: Any) -> Any:
    return open_page(Comfy_VueNodes_Enabled=CANVASES[canvas])


def test_a_run_shows_the_video_and_all_scores(page, canvas, screenshot):
    assert not _open(page, "best-of-n", SEEDS[canvas])
    page.evaluate("() => app.queuePrompt(0)")
    page.wait_for_selector(".hummingbird-score >> nth=1", state="attached")
    page.wait_for_selector("video", state="attached")
    bars = page.locator(".hummingbird-score >> nth=0 >> .hummingbird-fill")
    widths = bars.evaluate_all("(bars) => bars.map((bar) => parseFloat(bar.style.width))")
    assert len(widths) >= 3
    assert all(0 <= width <= 100 for width in widths)
    assert page.locator(".hummingbird-title >> nth=0").text_content().startswith("seed ")
    page.locator(".hummingbird-score >> nth=0").scroll_into_view_if_needed()
    screenshot(page)
    panel = page.locator(".hummingbird-panel:has(.hummingbird-score)").bounding_box()
    assert min(panel["width"], panel["height"]) > 40
    saved = page.evaluate("() => JSON.stringify(app.graph.serialize())")
    assert "hummingbird_panel" not in saved


def test_an_enhanced_prompt_is_shown_with_its_token_bar(page, canvas, screenshot):
    assert not _open(page, "prompt-enhance", SEEDS[canvas])
    page.evaluate("() => app.queuePrompt(0)")
    prompt = page.wait_for_selector(".hummingbird-prompt .hummingbird-text", state="attached")
    assert "hummingbird and a red flower" in prompt.text_content()
    bar = page.locator(".hummingbird-prompt .hummingbird-bar")
    assert "tokens" in bar.get_attribute("title")
    screenshot(page)


def test_workflows_open_without_missing_nodes_and_downloads_show_progress(open_page, screenshot):
    page = open_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    for name in WORKFLOWS:
        assert not _open(page, name), name
    page.evaluate("() => app.graph.add(LiteGraph.createNode('HummingbirdDownload'))")
    page.evaluate(PROGRESS, 1200)
    remark = page.wait_for_selector(".hummingbird-progress .hummingbird-remark", state="attached")
    assert remark.text_content() == "1200 of 4800 MB"
    screenshot(page)
    assert not errors


@pytest.mark.parametrize("language", ["ru", "zh", "ja"])
def test_names_tooltips_and_panels_are_in_the_users_language(open_page, url, language):
    page = open_page(Comfy_Locale=language)
    texts = json.loads((ROOT / f"locales/{language}/nodeDefs.json").read_text(encoding="utf-8"))
    names = page.evaluate(
        "() => { const node = LiteGraph.createNode('HummingbirdSample');"
        "return [node.title, ...node.inputs.map((input) => input.localized_name)]; }"
    )
    sample = texts["HummingbirdSample"]
    expected = {entry["name"] for entry in sample["inputs"].values()}
    assert names[0] == sample["display_name"]
    assert set(names[1:]) == expected


def test_every_node_has_a_help_page(server):
    import urllib.request

    nodes = [name for name in server.get("/object_info") if name.startswith("Hummingbird")]
    for name in nodes:
        address = f"http://127.0.0.1:{server.port}/extensions/hummingbird/docs/{name}.md"
        with urllib.request.urlopen(address, timeout=60) as reply:
            assert reply.read().startswith(b"# ")
