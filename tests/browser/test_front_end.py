"""The extension, the help pages, the languages and the workflows, as a user sees them."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import pytest
from blueprint import NAME
from comfy_install import ROOT
from comfy_page import LEGIBLE, comfy_page, fit_view
from example_workflows import FIRST
from PIL import Image
from workflow_graphs import NANO, NANO_PROMPT

WORKFLOWS = {path.stem: path for path in sorted((ROOT / "workflows").glob("*.json"))}
SMALL = {"width": 64, "height": 64, "frames": 4, "steps": 1, "count": 2, "checkpoint": NANO}
VIEW = {"x": 80, "y": 90, "width": 1100, "height": 500}  # without the bars around the canvas
LANGUAGES = ("ru", "zh", "ja")

# The server keeps results, and a page hears only of what is computed anew: another seed each.
SEEDS = {"classic": 1, "nodes-2.0": 2}

SLOW = 50  # steps, so that a preview is there for a while
TOLERANCE = 14  # pixels

OPEN = """async ([workflow, values]) => {
  await app.loadGraphData(workflow);
  for (const node of app.graph._nodes)
    for (const widget of node.widgets ?? [])
      if (widget.name in values) widget.value = values[widget.name];
  const types = app.graph._nodes.map((node) => node.type);
  return types.filter((type) => !(type in LiteGraph.registered_node_types));
}"""
ADD = """(type) => {
  app.graph.clear();
  app.graph.add(LiteGraph.createNode(type));
}"""
CHOOSE = """(checkpoint) => {
  const [node] = app.graph._nodes;
  const widget = node.widgets.find((widget) => widget.name === "checkpoint");
  widget.value = checkpoint;
  widget.callback(checkpoint, app.canvas, node);
}"""
ALL_RUNS_ENDED = """async () => {
  for (;;) {
    const { queue_running, queue_pending } = await (await fetch("/queue")).json();
    if (!queue_running.length && !queue_pending.length) return;
    await new Promise((done) => setTimeout(done, 100));
  }
}"""
SENT_WHEN_BYPASSED = """async (text) => {
  const node = (type) => app.graph._nodes.find((node) => node.type === type);
  const [enhance, encode] = [node("HummingbirdEnhancePrompt"), node("HummingbirdEncodePrompt")];
  const widget = (node) => node.widgets.find(({ name }) => name === "prompt");
  widget(enhance).value = text;
  widget(encode).value = "an old text";
  const sent = async () => (await app.graphToPrompt()).output[encode.id].inputs.prompt;
  const linked = await sent();
  enhance.mode = 4;
  const bypassed = await sent();
  encode.inputs.find(({ name }) => name === "prompt").link = null;
  return [linked, bypassed, await sent()];
}"""
TEMPLATES = '[data-testid^="template-workflow-"]'
HEIGHTS = "() => Object.fromEntries(app.graph._nodes.map((node) => [node.type, node.size[1]]))"
SAVED_HEIGHTS = """() => Object.fromEntries(
  app.graph.serialize().nodes.map((node) => [node.type, node.size[1]]))"""
# The last preview that was drawn, and what a file would have been at that time.
WATCH_PREVIEW = """() => {
  window.previewSeen = null;
  const look = () => {
    const picture = document.querySelector(".hummingbird-preview");
    const height = picture?.getBoundingClientRect().height;
    if (height > 40) {
      const nodes = app.graph.serialize().nodes.map((node) => [node.type, node.size[1]]);
      window.previewSeen = { src: picture.src, height, saved: Object.fromEntries(nodes) };
    }
    if (picture || !window.previewSeen) requestAnimationFrame(look);
  };
  look();
}"""
OVERLAPS = """() => {
  const boxes = app.graph._nodes.map((node) => [node.type, ...node.getBounding()]);
  return boxes.flatMap(([name, x, y, width, height], index) => boxes.slice(index + 1)
    .filter(([, x2, y2, width2, height2]) =>
      x < x2 + width2 && x2 < x + width && y < y2 + height2 && y2 < y + height)
    .map(([other]) => [name, other]));
}"""
SENT = """async (workflow) => {
  await app.loadGraphData(workflow);
  return (await app.graphToPrompt()).output;
}"""
EXECUTED = "(text) => app.graph._nodes[0].onExecuted({ text: [text] })"
PROGRESS = """async (value) => {
  const { api } = await import("/scripts/api.js");
  const { id } = app.graph._nodes.find((node) => node.type === "HummingbirdDownload");
  const detail = { node: String(id), value, max: 4800, prompt_id: "" };
  api.dispatchEvent(new CustomEvent("progress", { detail }));
}"""


def _wait_for_runs(page: Any) -> None:
    """Results of a run are drawn on the node of their id, as by ComfyUI, whatever graph is open."""
    page.evaluate(ALL_RUNS_ENDED)


def _open(page: Any, name: str, seed: int = 0, **values: int) -> list[str]:
    """Opens a workflow at a small size; the types of nodes that are missing."""
    _wait_for_runs(page)
    workflow = json.loads(WORKFLOWS[name].read_text(encoding="utf-8"))
    page.evaluate("() => app.graph.clear()")
    page.wait_for_selector(".hummingbird-panel", state="detached")  # of what was open before
    missing = page.evaluate(OPEN, [workflow, {**SMALL, "seed": seed, **values}])
    fit_view(page, VIEW)  # what is out of sight has no panel
    return missing


def _add(page: Any, node_type: str) -> None:
    """Makes a graph of one node."""
    _wait_for_runs(page)
    page.evaluate(ADD, node_type)
    fit_view(page, {**VIEW, "width": 500})


def test_a_run_shows_the_video_and_all_scores(page, canvas, screenshot):
    assert not _open(page, "best-of-n-hummingbird", SEEDS[canvas])
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
    assert not _open(page, "prompt-enhance-hummingbird", SEEDS[canvas])
    page.evaluate("() => app.queuePrompt(0)")
    prompt = page.wait_for_selector(".hummingbird-prompt .hummingbird-text", state="attached")
    assert "hummingbird and a red flower" in prompt.text_content()
    bar = page.locator(".hummingbird-prompt .hummingbird-bar")
    assert "tokens" in bar.get_attribute("title")
    screenshot(page)


def test_a_bypassed_enhancer_hands_on_its_text(page):
    """And not the text that lies hidden below the link."""
    assert not _open(page, "prompt-enhance-hummingbird")
    linked, bypassed, alone = page.evaluate(SENT_WHEN_BYPASSED, "a fox in the snow")
    assert isinstance(linked, list)
    assert (bypassed, alone) == ("a fox in the snow", "an old text")


@pytest.mark.parametrize("workflow", ["hummingbird-text-to-video", "stock-nodes-hummingbird"])
def test_while_sampling_the_video_plays_on_the_node(page, canvas, workflow, screenshot):
    """On ours and on KSampler, and in place of ComfyUI's still picture; then it is gone."""
    assert not _open(page, workflow, SEEDS[canvas], steps=SLOW)
    before = page.evaluate(HEIGHTS)
    page.evaluate(WATCH_PREVIEW)
    page.evaluate("() => app.queuePrompt(0)")
    page.wait_for_function("() => window.previewSeen")
    page.wait_for_selector(".hummingbird-preview", state="detached")
    page.wait_for_selector("video", state="attached")
    seen = page.evaluate("() => window.previewSeen")
    webp = seen["src"].partition("base64,")[2]
    assert Image.open(io.BytesIO(base64.b64decode(webp))).n_frames == SMALL["frames"]
    assert seen["height"] > 40
    screenshot(page)
    assert page.evaluate("() => Object.keys(app.nodePreviewImages)") == []
    # Neither now nor in a file is there room for a panel that is not there.
    page.wait_for_timeout(1000)
    for heights in (seen["saved"], page.evaluate(SAVED_HEIGHTS), page.evaluate(HEIGHTS)):
        for name in {"HummingbirdSample", "KSampler"} & set(before):
            assert heights[name] <= before[name] + TOLERANCE


def test_nodes_do_not_overlap_after_a_run(page, canvas, screenshot):
    assert not _open(page, "many-prompts-hummingbird", 20 + SEEDS[canvas])
    page.evaluate("() => app.queuePrompt(0)")
    page.wait_for_selector(".hummingbird-score", state="attached")
    page.wait_for_selector("video", state="attached")
    _wait_for_runs(page)
    page.wait_for_timeout(1000)
    screenshot(page)
    assert page.evaluate(OVERLAPS) == []


def test_four_seeds_fit_into_the_panel(page, canvas, screenshot):
    assert not _open(page, "best-of-n-hummingbird", 30 + SEEDS[canvas], count=4)
    page.evaluate("() => app.queuePrompt(0)")
    page.wait_for_selector(".hummingbird-score >> nth=3", state="attached")
    page.wait_for_timeout(1000)
    screenshot(page)
    content = page.locator(".hummingbird-content:has(.hummingbird-score)")
    shown, whole = content.evaluate("(e) => [e.clientHeight, e.scrollHeight]")
    assert whole <= shown
    panel = page.locator(".hummingbird-panel:has(.hummingbird-score)").bounding_box()
    last = page.locator(".hummingbird-score >> nth=3").bounding_box()
    assert last["y"] + last["height"] <= panel["y"] + panel["height"] + 2


def test_workflows_open_without_missing_nodes(page, screenshot):
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    for name in WORKFLOWS:
        assert not _open(page, name), name
    screenshot(page)
    assert not errors


def test_the_template_browser_finds_what_runs_at_once_first(browser, url):
    page = comfy_page(browser, url, **LEGIBLE)
    page.evaluate('() => app.extensionManager.command.execute("Comfy.BrowseTemplates")')
    page.wait_for_selector(TEMPLATES, state="attached")
    search = page.locator('[role="dialog"] input[placeholder*="earch"]')
    if not search.count():
        pytest.skip("the template browser of this front end has no search")
    for text in ("hummingbird", "text to video"):
        search.fill("nothing is called like this")
        page.wait_for_selector(TEMPLATES, state="detached")
        search.fill(text)
        page.wait_for_selector(TEMPLATES, state="attached")
        names = page.eval_on_selector_all(
            TEMPLATES, "(found) => found.map((e) => e.dataset.testid)"
        )
        ours = [name for name in names if "hummingbird" in name]
        assert ours[0] == f"template-workflow-{FIRST}"
    page.close()


def test_the_blueprint_is_text_to_video_in_one_node(page):
    _wait_for_runs(page)
    file = ROOT / "subgraphs" / f"{NAME}.json"
    sent = page.evaluate(SENT, json.loads(file.read_text(encoding="utf-8")))
    nodes = {node["class_type"]: node["inputs"] for node in sent.values()}
    types = {f"Hummingbird{name}" for name in ("Load", "EncodePrompt", "Sample", "Decode")}
    assert set(nodes) == types
    assert nodes["HummingbirdLoad"]["checkpoint"] == NANO
    assert nodes["HummingbirdEncodePrompt"]["prompt"] == NANO_PROMPT
    assert sent[nodes["HummingbirdDecode"]["samples"][0]]["class_type"] == "HummingbirdSample"


def test_a_download_shows_the_licence_of_what_is_chosen_then_its_progress(page, screenshot):
    _add(page, "HummingbirdDownload")
    terms = page.locator(".hummingbird-terms")
    terms.get_by_text("hummingbird-0.7b: about 4.8 GB").wait_for()
    assert "research use only" in terms.text_content()
    page.evaluate(CHOOSE, "videocrafter2")
    terms.get_by_text("videocrafter2: about").wait_for()
    screenshot(page)
    page.evaluate(PROGRESS, 1200)
    page.locator(".hummingbird-progress").get_by_text("1200 of 4800 MB").wait_for()


def test_a_long_report_scrolls_and_its_button_stays_in_sight(page, screenshot):
    _add(page, "HummingbirdDoctor")
    page.evaluate("() => app.queuePrompt(0)")
    report = page.locator(".hummingbird-report > .hummingbird-text")
    report.get_by_text("packages").wait_for()
    screenshot(page)
    shown, whole = report.evaluate("(element) => [element.clientHeight, element.scrollHeight]")
    assert 100 < shown < whole
    panel, button = (
        page.locator(f".hummingbird-{name}").bounding_box() for name in ("panel", "copy")
    )
    assert button["y"] + button["height"] <= panel["y"] + panel["height"]


def test_a_warning_goes_when_the_next_run_is_fine(page):
    _add(page, "HummingbirdDecode")
    report = page.locator(".hummingbird-report")
    page.evaluate(EXECUTED, "one flat colour")
    report.get_by_text("one flat colour").wait_for()
    page.evaluate(EXECUTED, "")
    report.wait_for(state="detached")


@pytest.mark.parametrize("language", LANGUAGES)
def test_names_are_in_the_users_language(browser, url, language):
    page = comfy_page(browser, url, Comfy_Locale=language)
    texts = json.loads((ROOT / f"locales/{language}/nodeDefs.json").read_text(encoding="utf-8"))
    names = page.evaluate(
        "() => { const node = LiteGraph.createNode('HummingbirdSample');"
        "return [node.title, ...node.inputs.map((input) => input.localized_name)]; }"
    )
    page.close()
    sample = texts["HummingbirdSample"]
    expected = {entry["name"] for entry in sample["inputs"].values()}
    assert names[0] == sample["display_name"]
    assert set(names[1:]) == expected


def test_reports_are_in_the_users_language(browser, url):
    page = comfy_page(browser, url, Comfy_Locale="ru")
    _add(page, "HummingbirdEncodePrompt")
    page.evaluate(EXECUTED, "5 of 75 tokens\nunknown to this model: xyzzy\na line of its own")
    report = page.locator(".hummingbird-report > .hummingbird-text")
    report.get_by_text("5 из 75 токенов").wait_for()
    expected = ["5 из 75 токенов", "эта модель не знает: xyzzy", "a line of its own"]
    assert report.text_content().split("\n") == expected
    page.close()


def test_help_pages_are_where_the_front_end_looks_for_them(server):
    for name in (name for name in server.node_infos if name.startswith("Hummingbird")):
        for page in (f"{name}.md", *(f"{name}/{language}.md" for language in LANGUAGES)):
            assert server.read(f"/extensions/hummingbird/docs/{page}").startswith(b"# "), page
