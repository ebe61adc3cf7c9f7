"""Our MODEL, CLIP, VAE and LATENT in ComfyUI's own nodes: the graphs that people build."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from support.comfy.graphs import FRAMES, base, ksampler_graph, sampler_custom_graph, saved_images
from workflow_graphs import Graph, context_windows, node

LONG = 28  # frames: beyond the 26 that the models were trained on


def _with_model_node(class_type: str, **inputs) -> Graph:
    changed = {"changed": node(class_type, model=["load", 0], **inputs)}
    return {**ksampler_graph(["changed", 0]), **changed}


def _with_conditioning_node(class_type: str, **inputs) -> Graph:
    graph = ksampler_graph(positive=["changed", 0])
    return {**graph, "changed": node(class_type, **inputs)}


def _batch_of_two() -> Graph:
    graph = ksampler_graph(sampler_name="euler", cfg=7.5)
    graph["empty"]["inputs"]["batch_size"] = 2
    return graph


def _sampler_custom_advanced() -> Graph:
    return {
        **base(),
        "noise": node("RandomNoise", noise_seed=1),
        "guider": node("BasicGuider", model=["load", 0], conditioning=["positive", 0]),
        "sampler": node("KSamplerSelect", sampler_name="dpmpp_2m"),
        "sigmas": node(
            "BasicScheduler", model=["load", 0], scheduler="simple", steps=2, denoise=1.0
        ),
        "sample": node(
            "SamplerCustomAdvanced",
            noise=["noise", 0],
            guider=["guider", 0],
            sampler=["sampler", 0],
            sigmas=["sigmas", 0],
            latent_image=["empty", 0],
        ),
        **saved_images(["sample", 0]),
    }


def _context_windows() -> Graph:
    windows = context_windows(["load", 0], length=16, overlap=4)
    return {**ksampler_graph(["changed", 0], frames=LONG), "changed": windows}


def _decode_with(class_type: str, **inputs) -> Graph:
    graph = ksampler_graph()
    graph["decode"] = node(class_type, samples=["sample", 0], vae=["load", 2], **inputs)
    return graph


def _there_and_back() -> Graph:
    """Frames through VAE Encode, a weak KSampler and VAE Decode: video to video."""
    graph = ksampler_graph(denoise=0.5)
    graph["empty"] = node("VAEEncode", pixels=["frames", 0], vae=["load", 2])
    graph["frames"] = node("EmptyImage", width=64, height=64, batch_size=FRAMES, color=255)
    return graph


GRAPHS = {
    "lcm": (ksampler_graph(), FRAMES),
    "euler, cfg 7.5": (ksampler_graph(sampler_name="euler", cfg=7.5), FRAMES),
    "batch of two": (_batch_of_two(), 2 * FRAMES),
    "SamplerCustom": (sampler_custom_graph(), FRAMES),
    "SamplerCustomAdvanced": (_sampler_custom_advanced(), FRAMES),
    "ModelSamplingDiscrete": (
        _with_model_node("ModelSamplingDiscrete", sampling="lcm", zsnr=False),
        FRAMES,
    ),
    "LoraLoaderModelOnly": (
        _with_model_node("LoraLoaderModelOnly", lora_name="lora.safetensors", strength_model=1.0),
        FRAMES,
    ),
    "FluxGuidance": (
        _with_conditioning_node("FluxGuidance", conditioning=["positive", 0], guidance=14.0),
        FRAMES,
    ),
    "LTXVConditioning": (
        _with_conditioning_node(
            "LTXVConditioning", positive=["positive", 0], negative=["negative", 0], frame_rate=24.0
        ),
        FRAMES,
    ),
    "Context Windows": (_context_windows(), LONG),
    "VAEDecodeTiled": (
        _decode_with(
            "VAEDecodeTiled", tile_size=64, overlap=32, temporal_size=64, temporal_overlap=8
        ),
        FRAMES,
    ),
    "VAEEncode": (_there_and_back(), FRAMES),
}


@pytest.fixture(scope="module", autouse=True)
def lora_file(server):
    """A LoRA in ComfyUI's names on a Linear, a Conv2d and a Conv3d of the built-in model."""
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "time_embed.0": ((128, 2), (2, 32)),
        "input_blocks.0.0": ((32, 2, 1, 1), (2, 4, 3, 3)),
        "input_blocks.1.0.temopral_conv.conv1.2": ((32, 2, 1, 1, 1), (2, 32, 3, 1, 1)),
    }
    tensors = {}
    for name, (up, down) in shapes.items():
        key = f"diffusion_model.{name}"
        tensors[f"{key}.lora_up.weight"] = torch.randn(up, generator=generator)
        tensors[f"{key}.lora_down.weight"] = torch.randn(down, generator=generator)
    folder = server.folder / "models" / "loras"
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "lora.safetensors")


@pytest.fixture(scope="module")
def plain_frames(server):
    """Return the frames of the plain graph: a LoRA or a frame rate must change them."""
    return server.frames(server.run(GRAPHS["lcm"][0]))


@pytest.mark.parametrize("name", GRAPHS)
def test_core_nodes_give_as_many_frames_as_asked_for(server, name):
    graph, expected = GRAPHS[name]
    frames = server.frames(server.run(graph))
    assert frames.shape == (expected, 64, 64, 3)
    assert frames.std() > 1


@pytest.mark.parametrize("name", ["LoraLoaderModelOnly", "LTXVConditioning"])
def test_what_core_nodes_set_has_an_effect(server, plain_frames, name):
    frames = server.frames(server.run(GRAPHS[name][0]))
    assert not np.array_equal(frames, plain_frames)
