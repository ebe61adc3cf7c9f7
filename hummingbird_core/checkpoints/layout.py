"""Layout of a checkpoint: which tensor belongs to which model, and the models' configs.

A merged checkpoint holds three models behind prefixes; a bare U-Net file has no prefix. The shapes
of the tensors give almost all of a model's config. The rest (number of heads, latent scale) comes
from the metadata of a converted file or from the attributes of a pickled model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError
from ..files import weights_files
from ..unet.model import PRESETS, HummingbirdUNet, UNetConfig
from ..weights.state_dict import validate_state_dict
from ..weights.tensor_files import StoredTensor, TensorFile

# Metadata keys of converted files (`convert.py` lists them).
CONFIG_KEY = "hummingbird.config"
PRESET_KEY = "hummingbird.preset"
TOKENIZER_KEY = "hummingbird.tokenizer"
LICENSE_KEY = "hummingbird.licence"

CUSTOM_PRESET = "custom"  # name of a U-Net whose shapes match no preset

PREVIEW_KEY = "preview_colours"  # in the config of a VAE whose latents are images

UNET_PREFIX = "model.diffusion_model."
VAE_PREFIX = "first_stage_model."
TEXT_PREFIX = "cond_stage_model.model."
UNET_ROOTS = ("time_embed.", "input_blocks.", "output_blocks.", "middle_block.", "out.")

# Tables derived from the noise schedule; samplers compute their own.
SCHEDULE_BUFFERS = re.compile(
    r"""
    betas | (sqrt_ | log_)?(one_minus_)?alphas_cumprod(_prev)? | sqrt_recip(m1)?_alphas_cumprod
    | posterior_(variance | log_variance_clipped | mean_coef1 | mean_coef2)
    | scale_arr(_prev)? | scale_factor | lvlb_weights | logvar | ddim_\w+
    """,
    re.VERBOSE,
)
# Used by training or other tasks only.
UNUSED_PREFIXES = (
    "teacher",
    "model_ema.",
    VAE_PREFIX + "loss.",
    TEXT_PREFIX + "visual.",
    TEXT_PREFIX + "attn_mask",
)

StateDict = dict[str, StoredTensor]
Shapes = dict[str, Tensor]  # meta tensors: shapes without memory


@dataclass
class Components:
    """Tensors of each model in a checkpoint, by the model's own key names.

    Attributes:
        unet: tensors of the U-Net, without `unet_prefix`.
        vae: tensors of the VAE, without `VAE_PREFIX`.
        text: tensors of the text encoder, without `TEXT_PREFIX`.
        unet_prefix: prefix of the U-Net's keys in the file; empty for a bare U-Net file.
        unknown: tensors that belong to no model, by their full names.
    """

    unet: StateDict = field(default_factory=dict)
    vae: StateDict = field(default_factory=dict)
    text: StateDict = field(default_factory=dict)
    unet_prefix: str = UNET_PREFIX
    unknown: StateDict = field(default_factory=dict)

    def with_prefixes(self) -> StateDict:
        """Return the tensors of all models by their full names in the file."""
        models = ((self.unet_prefix, self.unet), (VAE_PREFIX, self.vae), (TEXT_PREFIX, self.text))
        return {prefix + key: value for prefix, tensors in models for key, value in tensors.items()}


@dataclass(frozen=True)
class ComponentConfigs:
    """Configs of a checkpoint's models.

    Attributes:
        unet: config of the U-Net.
        text: `heads` and `skip_last` of the text encoder, where known; its shapes give the rest.
        vae: `scaling_factor`, `norm_num_groups` and `latents_are_images` of the VAE, where known,
            likewise.
    """

    unet: UNetConfig
    text: dict[str, Any]
    vae: dict[str, Any]

    def to_json(self) -> str:
        """Return the value of the metadata key `hummingbird.config`."""
        return json.dumps({"unet": self.unet.to_dict(), "text": self.text, "vae": self.vae})


def split_components(tensors: Mapping[str, StoredTensor]) -> Components:
    """Sort a checkpoint's tensors by model and drop the unused ones (training, schedules)."""
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


def checkpoint_file(path: Path) -> Path:
    """Return `path`, or the single weights file in it if it is a folder.

    Raises:
        CheckpointError: the folder holds no weights file, or several.
    """
    if not path.is_dir():
        return path
    found = weights_files(path)
    if len(found) != 1:
        names = ", ".join(file.name for file in found[:5]) or "none"
        raise CheckpointError(
            f"folder {path} holds {len(found)} checkpoints ({names}), expected one: name the file"
        )
    return found[0]


def preset_name(file: TensorFile, configs: ComponentConfigs) -> str:
    """Return the name of the U-Net's preset, "custom" if its shapes match none."""
    return file.metadata.get(PRESET_KEY) or configs.unet.preset or CUSTOM_PRESET


def component_configs(file: TensorFile, components: Components) -> ComponentConfigs:
    """Read or infer the configs of the models in a file, and validate the U-Net's state dict.

    Raises:
        CheckpointError: the file holds no U-Net, or its keys or shapes do not match; the message
            names missing, unexpected and mis-shaped keys.
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
        vae = dict(values.get("vae", {}))
        if PREVIEW_KEY in vae:  # older files with such latents do not say so
            vae.setdefault("latents_are_images", True)
        return ComponentConfigs(unet, dict(values.get("text", {})), vae)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"{file.path.name} has damaged metadata {CONFIG_KEY} ({error}): convert it again"
        ) from error


def _configs_from_attributes(attributes: Mapping[str, Any]) -> tuple[dict, dict]:
    """Return text and VAE settings from the attributes of a pickled model."""
    text = {
        "heads": attributes.get(TEXT_PREFIX + "transformer.resblocks.0.attn.num_heads"),
        "skip_last": attributes.get("cond_stage_model.layer_idx"),
    }
    vae = {
        "scaling_factor": attributes.get("scale_factor"),
        "norm_num_groups": attributes.get(VAE_PREFIX + "encoder.norm_out.num_groups"),
    }
    known_text, known_vae = (
        {name: value for name, value in settings.items() if value is not None}
        for settings in (text, vae)
    )
    return known_text, known_vae


def _nearest_config(components: Components, got: Shapes) -> tuple[UNetConfig, Shapes]:
    """Return the config inferred from the shapes or, if it does not match, the nearest preset.

    The tensors that the config is inferred from may themselves be missing or mis-shaped. The
    comparison with all presets then reports those few, and not the hundreds of tensors that a
    wrongly inferred config would expect.
    """
    candidates = _candidates_from_shapes(components)
    if not candidates or _count_mismatches(candidates[0][1], got):
        # The released teacher has no guidance input; consistency training adds one.
        guided_teacher = UNetConfig.from_preset("videocrafter2", guidance_embedding=True)
        presets = [*PRESETS.values(), guided_teacher]
        candidates += [(config, _expected_tensors(config, components)) for config in presets]
    return min(candidates, key=lambda candidate: _count_mismatches(candidate[1], got))


def _candidates_from_shapes(components: Components) -> list[tuple[UNetConfig, Shapes]]:
    """Return the config inferred from the shapes; nothing if no such U-Net can be built."""
    try:
        config = UNetConfig.from_state_dict(_meta_tensors(components.unet))
        return [(config, _expected_tensors(config, components))]
    except (ValueError, ArithmeticError, LookupError):
        return []


def _expected_tensors(config: UNetConfig, components: Components) -> Shapes:
    """Return the shapes of a U-Net of `config`, by their names in the file."""
    expected = HummingbirdUNet(config, device="meta").state_dict()
    return {components.unet_prefix + key: tensor for key, tensor in expected.items()}


def _stored_tensors(components: Components) -> Shapes:
    """Return the shapes of the U-Net's and the unknown tensors, by their names in the file."""
    prefixed = {components.unet_prefix + key: tensor for key, tensor in components.unet.items()}
    return _meta_tensors(prefixed | components.unknown)


def _count_mismatches(expected: Shapes, got: Shapes) -> int:
    shared = expected.keys() & got.keys()
    mis_shaped = sum(expected[key].shape != got[key].shape for key in shared)
    return len(expected.keys() ^ got.keys()) + mis_shaped


def _meta_tensors(tensors: StateDict) -> Shapes:
    return {key: torch.empty(tensor.shape, device="meta") for key, tensor in tensors.items()}
