"""Graphs in which core nodes change our MODEL before a sampler runs it.

Each shows a fault that was found once: a change without effect, noise, or an error that nobody
understands.
"""

from __future__ import annotations

from typing import Any

from support.comfy.graphs import FRAMES, ksampler_graph, sample_video, saved_images
from workflow_graphs import NANO, Graph, node

TEACHER = "nano-teacher (built in)"
WIDE = 128  # pixels at which the built-in model has more than one tile


def changed_model(
    class_type: str, checkpoint: str = NANO, sampler: dict[str, Any] | None = None, **inputs: Any
) -> Graph:
    """Return the loader, one core node, KSampler and saved images."""
    graph = ksampler_graph(["changed", 0], **(sampler or {}))
    graph["load"]["inputs"]["checkpoint"] = checkpoint
    return {**graph, "changed": node(class_type, model=["load", 0], **inputs)}


def plain(graph: Graph) -> Graph:
    """Return the same graph without the change."""
    rest = {name: node for name, node in graph.items() if name != "changed"}
    sample = {**graph["sample"], "inputs": {**graph["sample"]["inputs"], "model": ["load", 0]}}
    return {**rest, "sample": sample}


def before_sample_video(class_type: str, **inputs: Any) -> Graph:
    """Return the loader, one core node, Sample Video and saved images."""
    graph = {**changed_model(class_type, **inputs), "sample": sample_video(model=["changed", 0])}
    return {name: node for name, node in graph.items() if name not in ("negative", "empty")}


def _hyper_tile() -> Graph:
    graph = changed_model("HyperTile", tile_size=32, swap_size=1, max_depth=1, scale_depth=False)
    graph["empty"]["inputs"].update(width=WIDE, height=WIDE)
    return graph


def _merge(other: str, class_type: str = "ModelMergeSimple", **inputs: Any) -> Graph:
    graph = ksampler_graph(["changed", 0])
    loader = node("HummingbirdLoad", checkpoint=other, weight_dtype="auto")
    merged = node(class_type, model1=["load", 0], model2=["other", 0], **inputs)
    return {**graph, "other": loader, "changed": merged}


def _too_large() -> Graph:
    large = {"width": 4096, "height": 4096, "frames": 4096}
    graph = {**ksampler_graph(), "sample": sample_video(**large)}
    return {name: node for name, node in graph.items() if name not in ("negative", "empty")}


TWO_CONDS = {"cfg": 3.0}
MANY_STEPS = {"steps": 12, "sampler_name": "euler", "scheduler": "normal"}
FREE_U = {"b1": 1.1, "b2": 1.4, "s1": 0.9, "s2": 0.2}
MULTIPLIERS = {"q": 1.0, "k": 1.0, "v": 2.0, "out": 1.0}
SHRINK = {
    "block_number": 1,
    "downscale_factor": 2.0,
    "start_percent": 0.0,
    "end_percent": 0.9,
    "downscale_after_skip": True,
    "downscale_method": "bicubic",
    "upscale_method": "bicubic",
}
REUSE = {"reuse_threshold": 2.0, "start_percent": 0.1, "end_percent": 0.95, "verbose": False}
SKIP = {"double_layers": "1", "single_layers": "", "start_percent": 0.0, "end_percent": 1.0}
EDM = {"sigma_max": 120.0, "sigma_min": 0.002}

# Nodes that must change the video.
EFFECTS = {
    "FreeU": changed_model("FreeU", **FREE_U),
    "FreeU_V2": changed_model("FreeU_V2", **FREE_U),
    "PerturbedAttentionGuidance": changed_model(
        "PerturbedAttentionGuidance", TEACHER, TWO_CONDS, scale=100.0
    ),
    "HyperTile": _hyper_tile(),
    "NAGuidance": changed_model("NAGuidance", nag_scale=11.0, nag_alpha=1.0, nag_tau=2.5),
    "UNetSelfAttentionMultiply": changed_model("UNetSelfAttentionMultiply", **MULTIPLIERS),
    "UNetCrossAttentionMultiply": changed_model("UNetCrossAttentionMultiply", **MULTIPLIERS),
    "PatchModelAddDownscale": changed_model("PatchModelAddDownscale", **SHRINK),
    "EasyCache": changed_model("EasyCache", sampler=MANY_STEPS, **REUSE),
}
# Nodes that cannot work with this U-Net, and what their line says.
REFUSALS = {
    "PAG without a middle block": (
        changed_model("PerturbedAttentionGuidance", scale=3.0),
        r"input model: got a replacement of attn1 in block \('middle', 0\) from "
        "PerturbedAttentionGuidance",
    ),
    "SkipLayerGuidanceDiT": (
        changed_model("SkipLayerGuidanceDiT", scale=3.0, rescaling_scale=0.0, **SKIP),
        "input model: got a change by SkipLayerGuidanceDiT,",
    ),
    "SkipLayerGuidanceDiTSimple": (
        changed_model("SkipLayerGuidanceDiTSimple", **SKIP),
        "input model: got a change by SkipLayerGuidanceDiTSimple,",
    ),
    "SelfAttentionGuidance": (
        changed_model("SelfAttentionGuidance", TEACHER, TWO_CONDS, scale=0.5, blur_sigma=2.0),
        "input model: got a change by SelfAttentionGuidance,",
    ),
    "UNetTemporalAttentionMultiply": (
        changed_model(
            "UNetTemporalAttentionMultiply",
            self_structural=1.0,
            self_temporal=2.0,
            cross_structural=1.0,
            cross_temporal=1.0,
        ),
        "input model: got a change by UNetTemporalAttentionMultiply",
    ),
    "ScaleROPE": (
        changed_model("ScaleROPE", scale_x=2.0),
        "input model: got rotary positions",
    ),
    "NAG without negative": (
        before_sample_video("NAGuidance", nag_scale=5.0, nag_alpha=0.5, nag_tau=1.5),
        "input negative: got nothing",
    ),
    "ModelSamplingSD3": (
        changed_model("ModelSamplingSD3", shift=3.0),
        "input model: got the noise schedule of ModelSamplingSD3",
    ),
    "ModelSamplingAuraFlow": (
        changed_model("ModelSamplingAuraFlow", shift=1.73),
        "input model: got the noise schedule of ModelSamplingAuraFlow",
    ),
    "ModelSamplingFlux": (
        changed_model("ModelSamplingFlux", max_shift=1.15, base_shift=0.5, width=512, height=512),
        "input model: got the noise schedule of ModelSamplingFlux",
    ),
    "ModelSamplingContinuousEDM": (
        changed_model("ModelSamplingContinuousEDM", sampling="eps", **EDM),
        "input model: got the noise schedule of ModelSamplingContinuousEDM",
    ),
    "v_prediction": (
        changed_model("ModelSamplingDiscrete", sampling="v_prediction", zsnr=False),
        r"input model: got the noise schedule of ModelSamplingDiscrete \(.*V_PREDICTION\)",
    ),
    "zero terminal SNR": (
        changed_model("ModelSamplingDiscrete", sampling="eps", zsnr=True),
        "input model: got the noise schedule of ModelSamplingDiscrete",
    ),
    "Sample Video with ModelSamplingSD3": (
        before_sample_video("ModelSamplingSD3", shift=3.0),
        "input model: got the noise schedule of ModelSamplingSD3",
    ),
    "Sample Video with 50 noise levels": (
        before_sample_video("ModelSamplingDiscrete", sampling="lcm", zsnr=False),
        "input model: got the noise schedule of ModelSamplingDiscrete",
    ),
    "merge of student and teacher": (
        _merge(TEACHER, ratio=0.5),
        "input model: got a merge with a model of another shape",
    ),
    "sum of student and teacher": (
        _merge(TEACHER, "ModelMergeAdd"),
        "input model: got a merge with a model of another shape",
    ),
    "824 GiB of frames": (_too_large(), "inputs width, height and frames: got 1 video.* needs"),
}
# Nodes that may stand there without an effect.
HARMLESS = {
    "ModelSamplingDiscrete eps": before_sample_video(
        "ModelSamplingDiscrete", sampling="eps", zsnr=False
    ),
    "merge with itself": _merge(NANO, ratio=0.3),
}


def saving(class_type: str, prefix: str, **inputs: Any) -> Graph:
    """Return a graph that samples with a LoRA-free MODEL and saves it with a core node."""
    graph = ksampler_graph(frames=FRAMES)
    saver = node(class_type, model=["load", 0], filename_prefix=prefix, **inputs)
    return {**graph, "saver": saver}


def loading(checkpoint: str, whole: bool) -> Graph:
    """Return the graph of `saving` with the saved file; CLIP and VAE stay if it lacks them."""
    graph = {**ksampler_graph(["saved", 0], frames=FRAMES)}
    graph["saved"] = node("HummingbirdLoad", checkpoint=checkpoint, weight_dtype="auto")
    if whole:
        graph["positive"]["inputs"]["clip"] = ["saved", 1]
        graph.update(saved_images(["sample", 0]))
        graph["decode"]["inputs"]["vae"] = ["saved", 2]
    return graph
