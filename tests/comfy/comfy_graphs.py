"""Graphs for the server, as ComfyUI's API takes them: node id -> class and inputs."""

from __future__ import annotations

from typing import Any

PROMPT = "a red circle moves right"
FRAMES = 4
NANO = "nano (built in)"


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    """One node; a link is `[node id, output index]`."""
    return {"class_type": class_type, "inputs": inputs}


def base(checkpoint: str = NANO, weight_dtype: str = "auto", frames: int = FRAMES) -> dict:
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


def saved_images(samples: list) -> dict[str, Any]:
    """Decode with core's node, save every frame: shows how many there are."""
    return {
        "decode": node("VAEDecode", samples=samples, vae=["load", 2]),
        "save": node("SaveImage", images=["decode", 0], filename_prefix="frame"),
    }
