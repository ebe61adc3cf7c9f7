"""ComfyUI inside the test process, and as a server."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace

import pytest
import torch
from comfy_install import ROOT, comfyui_path, reason_to_skip
from comfy_server import ComfyServer
from support.comfy.graphs import PROMPT
from support.comfy.native import encode

PACK = "hummingbird_pack"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = reason_to_skip()
    for item in items:
        if reason and ROOT / "tests" / "comfy" in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def comfyui() -> None:
    """ComfyUI's modules can be imported after this; its `nodes` comes before our folder."""
    sys.path.insert(0, str(comfyui_path()))
    arguments, sys.argv = sys.argv, ["comfyui", "--cpu"]
    import comfy.options

    comfy.options.enable_args_parsing()
    import nodes  # noqa: F401

    sys.argv = arguments


@pytest.fixture(scope="session")
def pack(comfyui: None) -> ModuleType:
    """This pack, imported as ComfyUI imports a folder of custom_nodes."""
    spec = importlib.util.spec_from_file_location(PACK, ROOT / "__init__.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACK] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def node_classes(pack: ModuleType) -> dict[str, type]:
    """Our nodes by id."""
    extension = asyncio.run(pack.comfy_entrypoint())
    classes = asyncio.run(extension.get_node_list())
    return {cls.GET_SCHEMA().node_id: cls for cls in classes}


@pytest.fixture(scope="session")
def adapter(pack: ModuleType) -> SimpleNamespace:
    """The adapter's modules and the core that belongs to them."""
    places = ("io.frames", "io.latents", "io.prompts", "io.scoring", "model.autoencoder")
    places += ("model.checkpoint", "model.guard", "model.lora", "model.memory", "model.prompt")
    places += ("model.saving", "model.schedule", "model.text", "model.timeline", "model.unet")
    places += ("sampling.best_of", "sampling.sample")
    modules = {
        place.partition(".")[2]: importlib.import_module(f"{PACK}.nodes.adapter.{place}")
        for place in places
    }
    core = ("errors", "lora", "lora.formats", "hub.local", "pipeline", "sampling")
    for name in (*core, "sampling.context_windows", "unet", "vae"):
        module = importlib.import_module(f"{PACK}.hummingbird_core.{name}")
        modules[f"core_{name.replace('.', '_')}"] = module
    return SimpleNamespace(**modules)


@pytest.fixture(scope="session")
def nano(adapter: SimpleNamespace):
    """MODEL, CLIP and VAE of the built-in model in fp32."""
    return adapter.checkpoint.load_models(adapter.core_hub_local.resolve_model("nano"), "fp32")


@pytest.fixture(scope="session")
def positive(adapter: SimpleNamespace, nano) -> list:
    with torch.inference_mode():
        return encode(adapter, nano, PROMPT)


@pytest.fixture(autouse=True)
def inference_mode() -> Iterator[None]:
    """Run tests in inference mode, as ComfyUI runs nodes."""
    with torch.inference_mode():
        yield


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    with ComfyServer(comfyui_path(), tmp_path_factory.mktemp("comfyui") / "base") as running:
        yield running
