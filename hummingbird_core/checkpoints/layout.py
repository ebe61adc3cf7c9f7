"""Layout of a checkpoint: which tensor belongs to which model, and the models' configs.

A merged checkpoint holds three models behind prefixes; a bare U-Net file has no prefix. The shapes
of the tensors give almost all of a model's config. The rest (number of heads, latent scale) comes
from the metadata of a converted file or from the attributes of a pickled model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import CheckpointError
from ..files import weights_files
from ..unet.model import PRESETS, UNetConfig
from ..unet.shapes import weight_shapes
from ..weights.state_dict import HasShape, count_parameters, validate_state_dict
from ..weights.tensor_files import StoredTensor, TensorFile
from .configs import (
    CONFIG_KEY,
    TEXT_PREFIX,
    VAE_PREFIX,
    ComponentConfigs,
    configs_from_attributes,
    stored_configs,
)

# More metadata keys of converted files (`convert.py` lists them).
PRESET_KEY = "hummingbird.preset"
TOKENIZER_KEY = "hummingbird.tokenizer"
LICENSE_KEY = "hummingbird.licence"
WEIGHTS_VERSION_KEY = "hummingbird.weights_version"  # of models trained anew under one name

MAX_GROWTH = 2  # least size of the U-Net that a config describes, relative to the file's weights
CUSTOM_PRESET = "custom"  # name of a U-Net whose shapes match no preset

UNET_PREFIX = "model.diffusion_model."
DDP_PREFIX = "module."  # of torch.nn.parallel.DistributedDataParallel
COMPILED_PREFIX = "_orig_mod."  # of torch.compile
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
Shapes = Mapping[str, HasShape]


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


def split_components(tensors: Mapping[str, StoredTensor]) -> Components:
    """Sort a checkpoint's tensors by model and drop the unused ones (training, schedules).

    Raises:
        CheckpointError: two tensors have one name without the prefixes of DDP and torch.compile.
    """
    components = Components()
    tensors = _without_wrappers(tensors)
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


def _without_wrappers(tensors: Mapping[str, StoredTensor]) -> StateDict:
    """Return the tensors by the names they have without `DistributedDataParallel` and `compile`."""
    is_ddp = all(key.startswith(DDP_PREFIX) for key in tensors)
    plain = {
        (key.removeprefix(DDP_PREFIX) if is_ddp else key).replace(COMPILED_PREFIX, ""): tensor
        for key, tensor in tensors.items()
    }
    if len(plain) < len(tensors):
        raise CheckpointError(
            f"got two tensors of one name, once with {COMPILED_PREFIX} and once without, expected "
            "one: save the model once"
        )
    return plain


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
    _check_floating(file, components)
    got = _stored_tensors(components)
    if CONFIG_KEY in file.metadata:
        configs = stored_configs(file)
        _check_size(file, configs.unet, got)
        validate_state_dict(file.path.name, _expected_tensors(configs.unet, components), got)
        return configs
    config, expected = _nearest_config(components, got)
    validate_state_dict(file.path.name, expected, got)
    return ComponentConfigs(config, *configs_from_attributes(file))


def _check_floating(file: TensorFile, components: Components) -> None:
    """Refuse weights in integers: quantized ones mean nothing without their scales."""
    for key, tensor in components.with_prefixes().items():
        if not tensor.dtype.is_floating_point:
            raise CheckpointError(
                f"{file.path.name} holds {key} as {str(tensor.dtype).removeprefix('torch.')}, "
                "expected floating-point weights: get the file in float16, bfloat16 or float32"
            )


def _check_size(file: TensorFile, config: UNetConfig, got: Shapes) -> None:
    """Refuse a config of a much larger U-Net than the file holds, before it is built."""
    described, held = config.min_parameters, count_parameters(got.values())
    if described > MAX_GROWTH * held:
        raise CheckpointError(
            f"{file.path.name} has damaged metadata {CONFIG_KEY} (unet describes at least "
            f"{described:,} weights, the file holds {held:,}): convert it again"
        )


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
        config = UNetConfig.from_state_dict(components.unet)
        return [(config, _expected_tensors(config, components))]
    except (ValueError, ArithmeticError, LookupError):
        return []


def _expected_tensors(config: UNetConfig, components: Components) -> Shapes:
    """Return the shapes of a U-Net of `config`, by their names in the file."""
    expected = weight_shapes(config)
    return {components.unet_prefix + key: tensor for key, tensor in expected.items()}


def _stored_tensors(components: Components) -> Shapes:
    """Return the shapes of the U-Net's and the unknown tensors, by their names in the file."""
    prefixed = {components.unet_prefix + key: tensor for key, tensor in components.unet.items()}
    return prefixed | components.unknown


def _count_mismatches(expected: Shapes, got: Shapes) -> int:
    shared = expected.keys() & got.keys()
    mis_shaped = sum(tuple(expected[key].shape) != tuple(got[key].shape) for key in shared)
    return len(expected.keys() ^ got.keys()) + mis_shaped
