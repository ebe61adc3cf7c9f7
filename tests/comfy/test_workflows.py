"""The example workflows run in the server; the built-in model stands in for files of the user."""

from __future__ import annotations

import importlib.util
import json
import urllib.error
from pathlib import Path
from typing import Any

import pytest
import torch
from blueprint import NAME
from comfy_install import ROOT
from example_workflows import WORKFLOWS
from pack_texts import ENGLISH, as_json, english_texts
from support.comfy.ui_workflow import api_graph
from workflow_graphs import INTERPOLATOR, NANO, UPSCALER, numbered

FILES = sorted((ROOT / "workflows").glob("*.json"))
VIDEOS = {"many-prompts-hummingbird": 3}  # files that a workflow saves; one unless named
NOTES = {"MarkdownNote"}  # nodes of the front end alone
# Small enough for seconds; the long video still has more frames than its window.
SMALL = {"width": 64, "height": 64, "steps": 1, "count": 2}
SHORT = {"frames": 4, "context_length": 8, "context_overlap": 2}
# Frames; the last part of the story begins at 32.
LONGER = {"long-video-hummingbird": 12, "story-hummingbird": 33, "continue-hummingbird": 16}
# Saved frames, where they are not those that are sampled: those of two videos but for the 4 that
# they share; twice the frames but for the last.
SAVED = {"continue-hummingbird": 28, "smooth-and-large-hummingbird": 7}


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


@pytest.fixture(scope="module", autouse=True)
def video_models(server, comfyui) -> None:
    """Random interpolation and upscaling models where the workflow looks for them."""
    folder = server.folder / "models"
    for name in ("frame_interpolation", "upscale_models"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    if importlib.util.find_spec("comfy_extras.frame_interpolation_models") is None:
        return  # an older release
    from comfy_extras.frame_interpolation_models.ifnet import IFNet
    from safetensors.torch import save_file
    from spandrel.architectures.Compact import Compact

    with torch.inference_mode(False):
        ifnet = IFNet(head_ch=4, channels=[8] * 5)
        for weight in ifnet.parameters():
            torch.nn.init.normal_(weight, std=0.02)
        upscaler = Compact(num_feat=8, num_conv=2, upscale=2)
        save_file(ifnet.state_dict(), folder / "frame_interpolation" / INTERPOLATOR)
        torch.save(upscaler.state_dict(), folder / "upscale_models" / UPSCALER)


def _skip_if_newer(workflow: dict[str, Any], object_info: dict[str, Any]) -> None:
    """Skip a workflow with nodes of ComfyUI that this release does not have yet."""
    missing = {node["type"] for node in workflow["nodes"]} - object_info.keys() - NOTES
    if missing:
        pytest.skip(f"this release has no {', '.join(sorted(missing))}")


def _made_small(graph: dict[str, Any], frames: int) -> dict[str, Any]:
    changes = {**SMALL, **SHORT, "frames": frames, "checkpoint": NANO}
    for node in graph.values():
        inputs = node["inputs"]
        inputs.update({name: value for name, value in changes.items() if name in inputs})
    return graph


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_workflows_run_and_save_videos(server, object_info, file: Path):
    import av

    workflow = json.loads(file.read_text(encoding="utf-8"))
    _skip_if_newer(workflow, object_info)
    sampled = LONGER.get(file.stem, SHORT["frames"])
    graph = _made_small(api_graph(workflow, object_info), sampled)
    outputs = server.run(graph)
    (save,) = (key for key, node in graph.items() if node["class_type"] == "SaveVideo")
    videos = server.output_files(outputs, save)
    assert len(videos) == VIDEOS.get(file.stem, 1)
    for path in videos:
        with av.open(str(path)) as video:
            frames = sum(1 for _ in video.decode(video.streams.video[0]))
        assert frames == SAVED.get(file.stem, sampled)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_saved_workflows_are_their_sources(object_info, file: Path):
    expected = numbered(WORKFLOWS[file.stem].graph)
    workflow = json.loads(file.read_text(encoding="utf-8"))
    _skip_if_newer(workflow, object_info)
    saved = api_graph(workflow, object_info)
    assert saved.keys() == expected.keys()
    for key, node in expected.items():
        assert saved[key]["inputs"].items() >= node["inputs"].items(), key


def test_the_template_browser_offers_them_with_their_pictures(server):
    assert sorted(server.get("/workflow_templates")["hummingbird"]) == [f.stem for f in FILES]
    for file in FILES:
        address = f"/api/workflow_templates/hummingbird/{file.stem}"
        assert server.get(f"{address}.json") == json.loads(file.read_text(encoding="utf-8"))
        assert server.read(f"{address}.jpg") == file.with_suffix(".jpg").read_bytes()


def test_the_blueprint_is_offered(server):
    try:
        offered = server.get("/global_subgraphs")
    except urllib.error.HTTPError as error:
        pytest.skip(f"this release has no blueprints: {error}")
    ours = {key: entry for key, entry in offered.items() if entry["name"] == NAME}
    assert [entry["info"] for entry in ours.values()] == [{"node_pack": "custom_nodes.hummingbird"}]
    data = json.loads(server.get(f"/global_subgraphs/{next(iter(ours))}")["data"])
    assert data == json.loads((ROOT / "subgraphs" / f"{NAME}.json").read_text(encoding="utf-8"))


def test_the_english_texts_are_those_of_the_nodes(object_info):
    expected = as_json(english_texts(object_info))
    assert ENGLISH.read_text(encoding="utf-8") == expected, "run tools/pack_texts.py"
