"""Checks before any sampler runs a MODEL: other nodes may have changed it beyond its use.

ComfyUI's nodes clone a MODEL and change the clone without asking it. A change that would give
noise, or be ignored in silence, ends the graph with one line.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import comfy.model_patcher
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ....hummingbird_core.errors import InputError
from ....hummingbird_core.unet.config import TRAITS, UNetConfig
from .memory import check_memory
from .patches import EFFECTS_KEY, PatchEffects, check_patches, node_name
from .schedule import check_schedule
from .timeline import check_frames_of_run

GUARD = "hummingbird_guard"
# The config of a U-Net as text, among the weights that ComfyUI merges.
LAYOUT_KEY = "diffusion_model.layout"
# Nodes whose functions fail on videos or look for other blocks, and the reason.
UNSUITED = {
    "SelfAttentionGuidance": "it blurs images and cannot take the frames of a video",
    "SkipLayerGuidanceDiT": "it skips layers of diffusion transformers",
    "SkipLayerGuidanceDiTSimple": "it skips layers of diffusion transformers",
    "SkipLayerGuidanceSD3": "it skips layers of Stable Diffusion 3",
}


def add_guard(model: comfy.model_patcher.ModelPatcher) -> None:
    """Add the checks to every sampler that runs this MODEL or a clone of it."""
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, GUARD, _check_and_sample)


def _check_and_sample(sample: Any, noise: Tensor, *others: Any, **named: Any) -> Tensor:
    """Check the MODEL and the size of the video, sample, and name patches without effect."""
    guider = sample.class_obj
    check_model(guider.model_patcher, guider.model_options)
    _check_conditioning(guider.conds)
    config = guider.model_patcher.model.diffusion_model.config
    check_frames_of_run(guider.model_options, config, guider.conds, noise.shape[2])
    check_memory(guider.model_patcher, tuple(noise.shape), guider.model_options)
    # ComfyUI has copied the options for this run: the key is in no other.
    effects = PatchEffects()
    guider.model_options["transformer_options"][EFFECTS_KEY] = effects
    samples = sample(noise, *others, **named)
    for name in effects.without_effect:
        logging.warning(
            f"Hummingbird: {name} changed nothing: the attention of this U-Net runs at sizes that "
            "this node leaves alone; remove it, or sample a larger video"
        )
    return samples


def check_model(
    model: comfy.model_patcher.ModelPatcher, model_options: dict[str, Any] | None = None
) -> None:
    """Check all that other nodes may have changed in a MODEL.

    Args:
        model: one of ours.
        model_options: of this run; None: those of the MODEL.

    Raises:
        InputError: a change does not fit this U-Net; names the node.
    """
    options = model.model_options if model_options is None else model_options
    check_patches(options.get("transformer_options", {}), model.model.diffusion_model)
    _check_functions(options)
    check_schedule(model)
    check_merge(model)
    _check_multipliers(model)


def _check_functions(model_options: dict[str, Any]) -> None:
    """Check the functions that nodes put behind guidance or around the U-Net."""
    functions: list[Callable[..., Any]] = [
        *model_options.get("sampler_post_cfg_function", ()),
        *model_options.get("sampler_pre_cfg_function", ()),
    ]
    functions += filter(None, [model_options.get("sampler_calc_cond_batch_function")])
    for name in map(node_name, functions):
        if name in UNSUITED:
            raise InputError(
                f"input model: got a change by {name}, expected one for a video U-Net: "
                f"{UNSUITED[name]}, remove that node"
            )


def _check_conditioning(conds: dict[str, list[dict[str, Any]]]) -> None:
    """Check that no conditioning holds what the U-Net has no input for."""
    for name, entries in conds.items():
        if any(entry.get("control") is not None for entry in entries):
            raise InputError(
                f"input {name}: got a ControlNet, expected none: this U-Net has no input for one, "
                "remove Apply ControlNet"
            )


def check_merge(model: comfy.model_patcher.ModelPatcher) -> None:
    """Check that a MODEL was merged with U-Nets of the same layout only.

    ComfyUI's merge nodes leave out weights that one of both lacks, and those of other shapes.

    Raises:
        InputError: another one differs.
    """
    counts = {key: len(list(merged_weights(patches))) for key, patches in model.patches.items()}
    most = max(counts.values(), default=0)
    layout = _layout(model.model.diffusion_model.layout)
    others = [_layout(tensor) for tensor in merged_weights(model.patches.get(LAYOUT_KEY, []))]
    if len(others) < most or any(other != layout for other in others):
        raise InputError(
            "input model: got a merge with a model of another shape, expected two of one shape: "
            "weights that only one has would be left out; merge two versions of the same model"
        )


def merged_weights(patches: list[tuple]) -> Iterator[Tensor]:
    """Yield the weights of other models in a list of patches, nested merges included."""
    for _, value, *_ in patches:
        if isinstance(value, list):
            (weight, _), *nested = value
            yield weight
            yield from merged_weights(nested)


def _layout(text: Tensor) -> dict[str, Any]:
    """Return the fields of a U-Net's config that its weights depend on."""
    config = UNetConfig.from_dict(json.loads(bytes(text.tolist()).decode())).to_dict()
    return {name: value for name, value in config.items() if name not in (*TRAITS, "dropout")}


def _check_multipliers(model: comfy.model_patcher.ModelPatcher) -> None:
    """Check that no multiplier is for the temporal attention of Stable Video Diffusion.

    UNetTemporalAttentionMultiply tells it by a name that these weights don't have, and would
    change all attention as if it were spatial. Alone among the multipliers, it leaves q, k and v.
    """
    if _multipliers(model, "to_out.0.weight") > _multipliers(model, "to_q.weight"):
        raise InputError(
            "input model: got a change by UNetTemporalAttentionMultiply, expected one for this "
            "U-Net: the node knows the layers of Stable Video Diffusion only; use "
            "UNetSelfAttentionMultiply and UNetCrossAttentionMultiply"
        )


def _multipliers(model: comfy.model_patcher.ModelPatcher, layer: str) -> int:
    """Return the number of patches that only multiply the weights of a kind of layer."""
    patches = (p for key, p in model.patches.items() if key.endswith(f".{layer}"))
    values = [value for of_key in patches for _, value, *_ in of_key if isinstance(value, tuple)]
    return sum(len(value) == 1 and value[0] is None for value in values)
