"""The example workflows are what their sources say, and found in the template browser."""

from __future__ import annotations

import json

import pytest
from support.paths import ROOT

from tools.blueprint import NAME, OUTPUT_NODE, blueprint
from tools.example_workflows import BIG_SOURCE, FIRST, WORKFLOWS
from tools.workflow_graphs import numbered

SNAPSHOT = json.loads((ROOT / "tests/comfy/data/nodes.json").read_text(encoding="utf-8"))
OF_THE_FRONT_END = {"MarkdownNote"}
MUTED = 2  # a node's mode in the front end
OF_COMFYUI = {
    *("CLIPTextEncode", "ContextWindowsManual", "CreateVideo", "FluxGuidance", "KSampler"),
    *("ImageBatch", "ImageFromBatch", "LTXVConditioning", "SaveVideo", "VAEDecode", "VAEEncode"),
    *("FrameInterpolate", "FrameInterpolationModelLoader"),
    *("ImageUpscaleWithModel", "UpscaleModelLoader"),
}


def _saved(name: str) -> dict:
    return json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))


def test_every_workflow_has_a_file_and_a_picture():
    names = {path.name for path in (ROOT / "workflows").iterdir()}
    assert names == {f"{name}{suffix}" for name in WORKFLOWS for suffix in (".json", ".jpg")}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflows_are_what_their_sources_say(name):
    saved = _saved(name)
    nodes = {str(node["id"]): node for node in saved["nodes"]}
    notes = [node for node in saved["nodes"] if node["type"] in OF_THE_FRONT_END]
    muted = [node for node in saved["nodes"] if node["mode"] == MUTED]
    source = numbered(WORKFLOWS[name].graph)
    assert {key: nodes[key]["type"] for key in source} == {
        key: node["class_type"] for key, node in source.items()
    }
    assert len(nodes) == len(source) + len(notes) + len(muted)
    assert [note["widgets_values"] for note in notes] == [[WORKFLOWS[name].note]]
    for key, node in source.items():
        values = [value for value in node["inputs"].values() if not isinstance(value, list)]
        assert all(value in nodes[key].get("widgets_values", []) for value in values), key


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_second_run_of_a_workflow_has_another_seed(name):
    """A seed that stays is computed once, and then Run does nothing."""
    for node in _saved(name)["nodes"]:
        if any(entry["name"] == "seed" for entry in node["inputs"]):
            assert "randomize" in node["widgets_values"], node["type"]
            assert "fixed" not in node["widgets_values"], node["type"]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_says_where_its_checkpoint_comes_from(name):
    """The front end lists missing models by it, and the muted node fetches the checkpoint."""
    loaders = [node for node in _saved(name)["nodes"] if node["type"] == "HummingbirdLoad"]
    sources = [node["properties"].get("models") for node in loaders]
    muted = [node["type"] for node in _saved(name)["nodes"] if node["mode"] == MUTED]
    if WORKFLOWS[name].needs_checkpoint:
        assert (sources, muted) == ([[BIG_SOURCE]], ["HummingbirdDownload"])
    else:
        assert (sources, muted) == ([None], [])


@pytest.mark.parametrize("name", WORKFLOWS)
def test_an_app_shows_prompt_seed_and_video(name):
    saved = _saved(name)
    app = saved["extra"]["linearData"]
    assert app == WORKFLOWS[name].app
    types = {node["id"]: node["type"] for node in saved["nodes"]}
    assert [types[node] for node in app["outputs"]] == ["SaveVideo"]
    shown = {key for _, key in app["inputs"]}
    assert "seed" in shown
    assert shown & {"prompt", "prompts", "text"}


def test_no_note_has_a_code_span():
    """Nodes 2.0 shows them dark on dark."""
    assert not [name for name, workflow in WORKFLOWS.items() if "`" in workflow.note]


def test_the_template_browser_lists_what_runs_at_once_first():
    """It lists first what begins with the searched text; ties are left to the file system."""
    assert WORKFLOWS[FIRST].runs_offline
    assert all("hummingbird" in name for name in WORKFLOWS)
    for searched in ("hummingbird", "text-to-video"):
        places = {name: name.find(searched) for name in WORKFLOWS if searched in name}
        first = places.pop(FIRST)
        assert all(place > first for place in places.values()), searched


def test_the_blueprint_is_the_first_workflow():
    (file,) = (ROOT / "subgraphs").iterdir()
    assert file.name == f"{NAME}.json"
    assert json.loads(file.read_text(encoding="utf-8")) == blueprint(_saved(FIRST))


def test_the_blueprint_shows_inputs_that_its_nodes_have():
    made = blueprint(_saved(FIRST))
    (subgraph,) = made["definitions"]["subgraphs"]
    nodes = {str(node["id"]): node for node in subgraph["nodes"]}
    for node, name in made["nodes"][0]["properties"]["proxyWidgets"]:
        assert name in [entry["name"] for entry in nodes[node]["inputs"]]
    outside = {link["target_id"] for link in subgraph["links"]} - {int(key) for key in nodes}
    assert outside == {OUTPUT_NODE}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflows_use_nodes_of_comfyui_and_ours_only(name):
    types = {node["class_type"] for node in WORKFLOWS[name].graph.values()}
    assert types <= set(SNAPSHOT) | OF_COMFYUI
