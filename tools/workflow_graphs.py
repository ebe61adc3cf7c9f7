"""Graphs of the example workflows, which `example_workflows.py` lists.

A graph is in the form of ComfyUI's API: node id -> class and inputs; a link is [node id, output].
"""

from __future__ import annotations

from typing import Any

Graph = dict[str, dict[str, Any]]

NANO = "nano (built in)"
BIG = "hummingbird-0.7b.safetensors"  # what Download Hummingbird writes
LORA = "unet_lora.pt"
NANO_PROMPT = "a hummingbird flies right over a meadow"
LOOP_PROMPT = "a fox bobs at night"
BIG_PROMPT = "a hummingbird hovers in front of a red flower, soft morning light, slow motion"
STORY = "0: a cat moves right; 16: a fox moves right; 32: a fish moves right"
INTERPOLATOR, UPSCALER = "rife.safetensors", "RealESRGAN_x4plus.pth"
NANO_SIZE = {"width": 64, "height": 64, "frames": 16, "steps": 4}
BIG_SIZE = {"width": 512, "height": 320, "frames": 26, "steps": 8}


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    """One node; a link is `[node id, output index]`."""
    return {"class_type": class_type, "inputs": inputs}


def numbered(graph: Graph) -> Graph:
    """The graph with numbers for ids, as the front end gives them."""
    ids = {name: str(number) for number, name in enumerate(graph, start=1)}

    def renamed(value: Any) -> Any:
        return [ids[value[0]], value[1]] if isinstance(value, list) else value

    return {
        ids[name]: {**node, "inputs": {k: renamed(v) for k, v in node["inputs"].items()}}
        for name, node in graph.items()
    }


def text_to_video(checkpoint: str, prompt: Any, size: dict[str, int]) -> Graph:
    """Loader, prompt, sampling, decoding, saving: what the others are changes of."""
    return {
        "load": node("HummingbirdLoad", checkpoint=checkpoint, weight_dtype="auto"),
        "prompt": node("HummingbirdEncodePrompt", clip=["load", 1], prompt=prompt),
        "sample": node(
            "HummingbirdSample",
            model=["load", 0],
            positive=["prompt", 0],
            **size,
            guidance=7.5,
            fps=8.0,
            seed=0,
            strength=1.0,
            loop="off",  # front ends take what is not named here from the graph before
        ),
        "decode": node("HummingbirdDecode", samples=["sample", 0], vae=["load", 2], fps=0.0),
        "save": _save(["decode", 1]),
    }


def _save(video: list) -> dict[str, Any]:
    return node(
        "SaveVideo", video=video, filename_prefix="video/hummingbird", format="auto", codec="auto"
    )


def stock_nodes() -> Graph:
    """Only the loader and the empty video are ours: no node of ComfyUI makes either."""
    size = {name: BIG_SIZE[name] for name in ("width", "height", "frames")}
    return {
        "load": node("HummingbirdLoad", checkpoint=BIG, weight_dtype="auto"),
        "positive": node("CLIPTextEncode", clip=["load", 1], text=BIG_PROMPT),
        "negative": node("CLIPTextEncode", clip=["load", 1], text=""),
        "guidance": node("FluxGuidance", conditioning=["positive", 0], guidance=7.5),
        "rate": node(
            "LTXVConditioning", positive=["guidance", 0], negative=["negative", 0], frame_rate=8.0
        ),
        "empty": node("HummingbirdEmptyVideo", **size, batch_size=1),
        "sample": node(
            "KSampler",
            model=["load", 0],
            positive=["rate", 0],
            negative=["rate", 1],
            latent_image=["empty", 0],
            seed=0,
            steps=BIG_SIZE["steps"],
            cfg=1.0,
            sampler_name="lcm",
            scheduler="sgm_uniform",
            denoise=1.0,
        ),
        "decode": node("VAEDecode", samples=["sample", 0], vae=["load", 2]),
        "video": node("CreateVideo", images=["decode", 0], fps=8.0),
        "save": _save(["video", 0]),
    }


def reward_lora() -> Graph:
    """Return text to video with a reward LoRA."""
    lora = node("HummingbirdLoadLoRA", model=["load", 0], lora=LORA, strength=1.0)
    return _with_model_change(text_to_video(BIG, BIG_PROMPT, BIG_SIZE), "lora", lora)


def long_video() -> Graph:
    """Return text to video with 64 frames in context windows."""
    graph = text_to_video(BIG, BIG_PROMPT, {**BIG_SIZE, "frames": 64})
    return _with_model_change(graph, "windows", context_windows(["load", 0], length=16, overlap=4))


def context_windows(model: list, length: int, overlap: int) -> dict[str, Any]:
    """Return ComfyUI's node for videos longer than the model was trained on."""
    return node(
        "ContextWindowsManual",
        model=model,
        context_length=length,
        context_overlap=overlap,
        context_schedule="standard_static",
        context_stride=1,
        closed_loop=False,
        fuse_method="pyramid",
        dim=2,
    )


def _with_model_change(graph: Graph, name: str, change: dict[str, Any]) -> Graph:
    graph["sample"]["inputs"]["model"] = [name, 0]
    return {**graph, name: change}


def enhance(prompt: str) -> dict[str, Any]:
    """Return LLM Prompt Enhance with the built-in expander, after a loader called "load"."""
    return node(
        "HummingbirdEnhancePrompt",
        clip=["load", 1],
        prompt=prompt,
        source="builtin",
        language_model="",
        url="http://localhost:11434/v1",
        seed=0,
    )


def prompt_enhance() -> Graph:
    """Return text to video with an enhanced prompt."""
    graph = text_to_video(BIG, ["enhance", 0], BIG_SIZE)
    return {**graph, "enhance": enhance("a hummingbird and a red flower")}


def best_of_n() -> Graph:
    """Return Best of N with the built-in model."""
    base = text_to_video(NANO, NANO_PROMPT, NANO_SIZE)
    settings = {k: v for k, v in base["sample"]["inputs"].items() if k != "strength"}
    best = node(
        "HummingbirdBestOfN",
        vae=["load", 2],
        count=4,
        metric="agreement",
        threshold=0.0,
        dover="none",
        agreement_model="nano-agreement",
        **settings,
    )
    return {
        "load": base["load"],
        "prompt": base["prompt"],
        "best": best,
        "save": _save(["best", 5]),
    }


def until_good() -> Graph:
    """Return Best of N that stops at the first good video."""
    graph = best_of_n()
    graph["best"]["inputs"].update(count=16, threshold=0.8)
    return graph


def story() -> Graph:
    """Return text to video with three prompts, one after the other."""
    return text_to_video(NANO, STORY, {**NANO_SIZE, "frames": 48})


def continued() -> Graph:
    """Return a video, and a second one that starts with the last frames of the first."""
    graph = text_to_video(NANO, NANO_PROMPT, NANO_SIZE)
    second = {**graph["sample"]["inputs"], "seed": 1, "start_image": ["start", 0]}
    return {
        **graph,
        "end": node("ImageFromBatch", image=["decode", 0], batch_index=12, length=4),
        "start": node("VAEEncode", pixels=["end", 0], vae=["load", 2]),
        "more": node("HummingbirdSample", **second),
        "decode more": node("HummingbirdDecode", samples=["more", 0], vae=["load", 2], fps=0.0),
        "new": node("ImageFromBatch", image=["decode more", 0], batch_index=4, length=12),
        "both": node("ImageBatch", image1=["decode", 0], image2=["new", 0]),
        "video": node("CreateVideo", images=["both", 0], fps=8.0),
        "save": _save(["video", 0]),
    }


def loop() -> Graph:
    """Return text to video whose first frame follows the last one."""
    graph = text_to_video(NANO, LOOP_PROMPT, {**NANO_SIZE, "frames": 30})
    graph["sample"]["inputs"]["loop"] = "on"
    return graph


def smooth_and_large() -> Graph:
    """Return text to video with ComfyUI's own nodes for more frames and pixels after it."""
    return {
        **text_to_video(NANO, NANO_PROMPT, NANO_SIZE),
        "interpolator": node("FrameInterpolationModelLoader", model_name=INTERPOLATOR),
        "smooth": node(
            "FrameInterpolate",
            interp_model=["interpolator", 0],
            images=["decode", 0],
            multiplier=2,
        ),
        "upscaler": node("UpscaleModelLoader", model_name=UPSCALER),
        "large": node("ImageUpscaleWithModel", upscale_model=["upscaler", 0], image=["smooth", 0]),
        "video": node("CreateVideo", images=["large", 0], fps=16.0),
        "save": _save(["video", 0]),
    }


def many_prompts() -> Graph:
    """Return one video and its score for each prompt of a list."""
    lines = f"{NANO_PROMPT}\na red circle moves right\na blue square moves up"
    return {
        **text_to_video(NANO, ["prompts", 0], NANO_SIZE),
        "prompts": node("HummingbirdPromptList", prompts=lines),
        "score": node("HummingbirdVQAScore", images=["decode", 0], fps=8.0, dover="none"),
    }
