"""Graphs for the server, as ComfyUI's API takes them: node id -> class and inputs."""

from __future__ import annotations

from typing import Any

from workflow_graphs import NANO, Graph, node

PROMPT = "a red circle moves right"
FRAMES = 4


def base(checkpoint: str = NANO, weight_dtype: str = "auto", frames: int = FRAMES) -> Graph:
    """Loader, both conditionings and an empty video."""
    return {
        "load": node("HummingbirdLoad", checkpoint=checkpoint, weight_dtype=weight_dtype),
        "positive": node("HummingbirdEncodePrompt", clip=["load", 1], prompt=PROMPT),
        "negative": node("CLIPTextEncode", clip=["load", 1], text=""),
        "empty": node("HummingbirdEmptyVideo", width=64, height=64, frames=frames, batch_size=1),
    }


def ksampler(model: list, latent: list, **changes: Any) -> dict[str, Any]:
    """Core's KSampler, as one would set it for a consistency model."""
    settings = {
        "seed": 1,
        "steps": 2,
        "cfg": 1.0,
        "sampler_name": "lcm",
        "scheduler": "sgm_uniform",
        "denoise": 1.0,
        "positive": ["positive", 0],
        "negative": ["negative", 0],
    }
    return node("KSampler", model=model, latent_image=latent, **{**settings, **changes})


def sample_video(**changes: Any) -> dict[str, Any]:
    """Our own sampling node."""
    settings = {
        "model": ["load", 0],
        "positive": ["positive", 0],
        "width": 64,
        "height": 64,
        "frames": FRAMES,
        "steps": 4,
        "guidance": 7.5,
        "fps": 8.0,
        "seed": 5,
        "strength": 1.0,
    }
    return node("HummingbirdSample", **{**settings, **changes})


def ksampler_graph(model: list | None = None, frames: int = FRAMES, **changes: Any) -> Graph:
    """KSampler from an empty video to saved images; `model` is a link if not to the loader."""
    sampler = ksampler(model or ["load", 0], ["empty", 0], **changes)
    return {**base(frames=frames), "sample": sampler, **saved_images(["sample", 0])}


def sampler_custom_graph() -> Graph:
    """Our sigmas and sampler in SamplerCustom: the same video as `sample_video()`."""
    custom = node(
        "SamplerCustom",
        model=["load", 0],
        add_noise=True,
        noise_seed=5,
        cfg=1.0,
        positive=["positive", 0],
        negative=["negative", 0],
        sampler=["sampler", 0],
        sigmas=["sigmas", 0],
        latent_image=["empty", 0],
    )
    return {
        **base(),
        "sampler": node("HummingbirdSampler"),
        "sigmas": node("HummingbirdSigmas", steps=4, strength=1.0),
        "sample": custom,
        **saved_images(["sample", 0]),
    }


def saved_images(samples: list) -> Graph:
    """Decode with core's node, save every frame: shows how many there are."""
    return {
        "decode": node("VAEDecode", samples=samples, vae=["load", 2]),
        "save": node("SaveImage", images=["decode", 0], filename_prefix="frame"),
    }
