"""The example workflows run in the server; the built-in model stands in for files of the user."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from comfy_install import ROOT
from pack_texts import ENGLISH, as_json, english_texts
from support.comfy.ui_workflow import api_graph
from workflow_graphs import NANO, WORKFLOWS, numbered

FILES = sorted((ROOT / "workflows").glob("*.json"))
VIDEOS = {"many-prompts": 3}  # files that a workflow saves; one unless named
# Small enough for seconds; the long video still has more frames than its window.
SMALL = {"width": 64, "height": 64, "steps": 1, "count": 2}
SHORT = {"frames": 4, "context_length": 8, "context_overlap": 2}
LONG = 12


@pytest.fixture(scope="module")
def object_info(server) -> dict[str, Any]:
    return server.get("/object_info")


@pytest.fixture(scope="module", autouse=True)
def lora_file(server, nano, adapter) -> None:
    """A nameless reward LoRA of the built-in model where the workflow looks for one."""
    unet = adapter.unet.hummingbird_unet(nano.model)
    tensors = []
    for layer in adapter.core_lora_formats.lora_targets(unet).values():
        weight = layer.weight
        tail = (1,) * (weight.ndim - 2)
        tensors.append(torch.zeros(weight.shape[0], 2, *tail))
        tensors.append(torch.zeros(2, *weight.shape[1:]))
    folder = server.folder / "models" / "loras"
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(tensors, folder / "unet_lora.pt")


def _made_small(graph: dict[str, Any], is_long: bool) -> dict[str, Any]:
    changes = {**SMALL, **SHORT, **({"frames": LONG} if is_long else {}), "checkpoint": NANO}
    for node in graph.values():
        inputs = node["inputs"]
        inputs.update({name: value for name, value in changes.items() if name in inputs})
    return graph


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_workflows_run_and_save_videos(server, object_info, file: Path):
    import av

    workflow = json.loads(file.read_text(encoding="utf-8"))
    is_long = file.stem == "long-video"
    graph = _made_small(api_graph(workflow, object_info), is_long)
    outputs = server.run(graph)
    (save,) = (key for key, node in graph.items() if node["class_type"] == "SaveVideo")
    videos = server.output_files(outputs, save)
    assert len(videos) == VIDEOS.get(file.stem, 1)
    for path in videos:
        with av.open(str(path)) as video:
            frames = sum(1 for _ in video.decode(video.streams.video[0]))
        assert frames == (LONG if is_long else SHORT["frames"])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_saved_workflows_are_their_sources(object_info, file: Path):
    expected = numbered(WORKFLOWS[file.stem].graph)
    saved = api_graph(json.loads(file.read_text(encoding="utf-8")), object_info)
    assert saved.keys() == expected.keys()
    for key, node in expected.items():
        assert saved[key]["inputs"].items() >= node["inputs"].items(), key


def test_the_template_browser_offers_them_with_their_pictures(server):
    assert sorted(server.get("/workflow_templates")["hummingbird"]) == [f.stem for f in FILES]
    for file in FILES:
        address = f"/api/workflow_templates/hummingbird/{file.stem}"
        assert server.get(f"{address}.json") == json.loads(file.read_text(encoding="utf-8"))
        assert server.read(f"{address}.jpg") == file.with_suffix(".jpg").read_bytes()


def test_the_english_texts_are_those_of_the_nodes(object_info):
    expected = as_json(english_texts(object_info))
    assert ENGLISH.read_text(encoding="utf-8") == expected, "run tools/pack_texts.py"
