"""Which tensor of a checkpoint belongs to which model, and what shape the models have.

A merged checkpoint holds three models behind prefixes; a bare U-Net file has no prefix. The shapes
tell almost everything about a model. The rest (numbers of heads, latent scale) comes from the
metadata of a converted file or from the attributes of a pickled model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError
from ..unet.model import PRESETS, HummingbirdUNet, UNetConfig
from ..weights.state_dict import validate_state_dict
from ..weights.tensor_files import StoredTensor, TensorFile

CONFIG_KEY = "hummingbird.config"  # metadata of converted files

UNET_PREFIX = "model.diffusion_model."
VAE_PREFIX = "first_stage_model."
TEXT_PREFIX = "cond_stage_model.model."
UNET_ROOTS = ("time_embed.", "input_blocks.", "output_blocks.", "middle_block.", "out.")

# Tables that follow from the noise schedule; every sampler makes its own.
SCHEDULE_BUFFERS = re.compile(
    r"""
    betas | (sqrt_ | log_)?(one_minus_)?alphas_cumprod(_prev)? | sqrt_recip(m1)?_alphas_cumprod
    | posterior_(variance | log_variance_clipped | mean_coef1 | mean_coef2)
    | scale_arr(_prev)? | scale_factor | lvlb_weights | logvar | ddim_\w+
    """,
    re.VERBOSE,
)
# Only training or other tasks use these.
UNUSED_PREFIXES = (
    "teacher",
    "model_ema.",
    VAE_PREFIX + "loss.",
    TEXT_PREFIX + "visual.",
    TEXT_PREFIX + "attn_mask",
)

StateDict = dict[str, StoredTensor]
Shapes = dict[str, Tensor]  # on the meta device: a shape, and no memory


@dataclass
class Components:
    """The tensors of each model, by its own key names (prefix cut off).

    Attributes:
        unet_prefix: what was cut off the U-Net's keys; empty for a bare U-Net file.
        unknown: tensors that belong to no model, by their full names.
    """

    unet: StateDict = field(default_factory=dict)
    vae: StateDict = field(default_factory=dict)
    text: StateDict = field(default_factory=dict)
    unet_prefix: str = UNET_PREFIX
    unknown: StateDict = field(default_factory=dict)

    def with_prefixes(self) -> StateDict:
        """All tensors that a model needs, by their full names."""
        prefixes = ((self.unet_prefix, self.unet), (VAE_PREFIX, self.vae), (TEXT_PREFIX, self.text))
        return {prefix + key: tensor for prefix, part in prefixes for key, tensor in part.items()}


@dataclass(frozen=True)
class ComponentConfigs:
    """How to build the models; `text` and `vae` hold only what their shapes do not tell."""

    unet: UNetConfig
    text: dict[str, Any]
    vae: dict[str, Any]

    def to_json(self) -> str:
        return json.dumps({"unet": self.unet.to_dict(), "text": self.text, "vae": self.vae})


def split_components(tensors: Mapping[str, StoredTensor]) -> Components:
    """Sorts a checkpoint's tensors by model and drops those that nothing here uses."""
    components = Components()
    if not any(key.startswith(UNET_PREFIX) for key in tensors):
        components.unet_prefix = ""
    for key, tensor in tensors.items():
        if key.startswith(UNUSED_PREFIXES) or SCHEDULE_BUFFERS.fullmatch(key):
            continue
        if key.startswith(VAE_PREFIX):
            components.vae[key.removeprefix(VAE_PREFIX)] = tensor
        elif key.startswith(TEXT_PREFIX):
            components.text[key.removeprefix(TEXT_PREFIX)] = tensor
        elif key.startswith(components.unet_prefix):
            components.unet[key.removeprefix(components.unet_prefix)] = tensor
        else:
            components.unknown[key] = tensor
    return components


def component_configs(file: TensorFile, components: Components) -> ComponentConfigs:
    """The configs of the models in `file`, checked against the U-Net's keys and shapes.

    Raises:
        CheckpointError: names missing, unexpected and mis-shaped keys.
    """
    if not any(key.startswith(UNET_ROOTS) for key in components.unet):
        raise CheckpointError(
            f"{file.path.name} holds no U-Net ({len(file.tensors)} tensors, such as "
            f"{next(iter(file.tensors), 'none')}): expected a VideoCrafter2 or Hummingbird "
            "checkpoint"
        )
    if CONFIG_KEY in file.metadata:
        configs = _stored_configs(file)
        validate_state_dict(
            file.path.name, _expected_tensors(configs.unet, components), _stored_tensors(components)
        )
        return configs
    config, expected = _nearest_config(components, _stored_tensors(components))
    validate_state_dict(file.path.name, expected, _stored_tensors(components))
    text, vae = _configs_from_attributes(file.hyperparameters)
    return ComponentConfigs(config, text, vae)


def _stored_configs(file: TensorFile) -> ComponentConfigs:
    try:
        values = json.loads(file.metadata[CONFIG_KEY])
        unet = UNetConfig.from_dict(values["unet"])
        return ComponentConfigs(unet, dict(values.get("text", {})), dict(values.get("vae", {})))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"{file.path.name} has damaged metadata {CONFIG_KEY} ({error}): convert it again"
        ) from error


def _configs_from_attributes(attributes: Mapping[str, Any]) -> tuple[dict, dict]:
    """Text and VAE settings as the attributes of a pickled model name them."""
    text = {
        "heads": attributes.get(TEXT_PREFIX + "transformer.resblocks.0.attn.num_heads"),
        "skip_last": attributes.get("cond_stage_model.layer_idx"),
    }
    vae = {
        "scaling_factor": attributes.get("scale_factor"),
        "norm_num_groups": attributes.get(VAE_PREFIX + "encoder.norm_out.num_groups"),
    }
    known_text, known_vae = (
        {name: value for name, value in part.items() if value is not None} for part in (text, vae)
    )
    return known_text, known_vae


def _nearest_config(components: Components, got: Shapes) -> tuple[UNetConfig, Shapes]:
    """The config that the shapes tell, or if it does not fit, the one that fits best.

    The very tensors from which the config is read may be missing or of a wrong shape. Comparing
    with all presets then names them, and not the hundreds that a misread config would expect.
    """
    candidates = _candidates_from_shapes(components)
    if not candidates or _count_faults(candidates[0][1], got):
        # A teacher has no guidance input as released, and one after consistency training.
        guided_teacher = UNetConfig.from_preset("videocrafter2", guidance_embedding=True)
        presets = [*PRESETS.values(), guided_teacher]
        candidates += [(config, _expected_tensors(config, components)) for config in presets]
    return min(candidates, key=lambda candidate: _count_faults(candidate[1], got))


def _candidates_from_shapes(components: Components) -> list[tuple[UNetConfig, Shapes]]:
    """The config that the shapes tell, unless no such U-Net can be built."""
    try:
        config = UNetConfig.from_state_dict(_meta_tensors(components.unet))
        return [(config, _expected_tensors(config, components))]
    except (ValueError, ArithmeticError, LookupError):
        return []


def _expected_tensors(config: UNetConfig, components: Components) -> Shapes:
    """What a U-Net of `config` needs, as the file would name it."""
    expected = HummingbirdUNet(config, device="meta").state_dict()
    return {components.unet_prefix + key: tensor for key, tensor in expected.items()}


def _stored_tensors(components: Components) -> Shapes:
    """The U-Net's tensors and those of no model, as the file names them."""
    prefixed = {components.unet_prefix + key: tensor for key, tensor in components.unet.items()}
    return _meta_tensors(prefixed | components.unknown)


def _count_faults(expected: Shapes, got: Shapes) -> int:
    shared = expected.keys() & got.keys()
    mis_shaped = sum(expected[key].shape != got[key].shape for key in shared)
    return len(expected.keys() ^ got.keys()) + mis_shaped


def _meta_tensors(part: StateDict) -> Shapes:
    return {key: torch.empty(tensor.shape, device="meta") for key, tensor in part.items()}
