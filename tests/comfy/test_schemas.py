"""Ids, input names and a text for every input: saved workflows and users rely on them."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest
from comfy_install import ROOT, comfyui_path

OPTIONAL = ("diffusers", "imageio", "imageio_ffmpeg", "ftfy", "peft")
SNAPSHOT = Path(__file__).parent / "data" / "nodes.json"


def _described(node: type) -> dict:
    info = node.GET_NODE_INFO_V1()
    groups = [info["input"].get(kind, {}) for kind in ("required", "optional")]
    kinds = {name: spec[0] for group in groups for name, spec in group.items()}
    return {
        "display_name": info["display_name"],
        # An older release spells a combo as its list of options.
        "inputs": {
            name: kind if isinstance(kind, str) else "COMBO" for name, kind in kinds.items()
        },
        "optional": sorted(groups[1]),
        "outputs": [list(pair) for pair in zip(info["output_name"], info["output"], strict=True)],
    }


def test_ids_inputs_and_outputs_are_frozen(node_classes):
    """Renaming one breaks workflows that people have saved: add, and change the snapshot."""
    found = {name: _described(node) for name, node in node_classes.items()}
    assert found == json.loads(SNAPSHOT.read_text())


def test_every_node_and_input_is_explained(node_classes):
    for name, node in node_classes.items():
        schema = node.GET_SCHEMA()
        assert name.startswith("Hummingbird")
        assert schema.category == "Hummingbird"
        assert schema.description
        for entry in [*schema.inputs, *schema.outputs]:
            assert entry.tooltip, f"{name}: {entry.id}"


def test_the_loader_offers_the_built_in_model_first(node_classes):
    options = node_classes["HummingbirdLoad"].GET_SCHEMA().inputs[0].options
    assert options[0] == "nano (built in)"


def test_nodes_load_and_make_a_video_without_optional_packages(node_classes):
    """With only what ComfyUI has."""
    code = f"""
import asyncio, importlib.util, sys, torch
for package in {OPTIONAL!r}:
    sys.modules[package] = None  # importing it raises ImportError
sys.path.insert(0, {str(comfyui_path())!r})
sys.argv = ["comfyui", "--cpu"]
import comfy.options
comfy.options.enable_args_parsing()
import nodes
spec = importlib.util.spec_from_file_location("pack", {str(ROOT / "__init__.py")!r})
pack = sys.modules["pack"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pack)
extension = asyncio.run(pack.comfy_entrypoint())
all = {{node.GET_SCHEMA().node_id: node for node in asyncio.run(extension.get_node_list())}}
settings = dict(width=64, height=64, frames=2, steps=1, guidance=7.5, fps=8.0, strength=1.0)
with torch.inference_mode():
    model, clip, vae = all["HummingbirdLoad"].execute("nano (built in)", "auto").args
    text = all["HummingbirdEncodePrompt"].execute(clip, "a red circle").args[0]
    latent = all["HummingbirdSample"].execute(model, text, seed=0, **settings).args[0]
    images = all["HummingbirdDecode"].execute(latent, vae, 0.0).args[0]
print(len(all), *images.shape)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[-5:] == [str(len(node_classes)), "2", "64", "64", "3"]


def test_the_pack_is_silent_outside_comfyui():
    code = (
        "import importlib, sys; sys.path.insert(0, sys.argv[1]);"
        "importlib.import_module(sys.argv[2])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT.parent), ROOT.name],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_newer_releases_find_the_nodes_by_what_they_are_for(node_classes):
    """Older ones load the same nodes without these fields."""
    fields = inspect.signature(type(node_classes["HummingbirdLoad"].GET_SCHEMA())).parameters
    if "search_aliases" not in fields:
        pytest.skip("this ComfyUI has no search aliases")
    schemas = {name: node.GET_SCHEMA() for name, node in node_classes.items()}
    assert all(schema.search_aliases for schema in schemas.values())
    found = {name for name, schema in schemas.items() if "text to video" in schema.search_aliases}
    assert {"HummingbirdLoad", "HummingbirdEncodePrompt", "HummingbirdSample"} <= found
    if "essentials_category" in fields:
        assert schemas["HummingbirdSample"].essentials_category == "Video Generation"


def test_rarely_used_inputs_are_folded_away_where_the_release_can(node_classes):
    inputs = {entry.id: entry for entry in node_classes["HummingbirdLoad"].GET_SCHEMA().inputs}
    can = "advanced" in inspect.signature(type(inputs["weight_dtype"])).parameters
    assert bool(getattr(inputs["weight_dtype"], "advanced", None)) == can
    assert not getattr(inputs["checkpoint"], "advanced", None)
