"""Loading of a checkpoint file as MODEL, CLIP and VAE, without running code from the file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import comfy.model_patcher
import comfy.sd
import torch
from torch import Tensor

from ....hummingbird_core.checkpoints import TOKENIZER_KEY
from ....hummingbird_core.checkpoints.layout import (
    ComponentConfigs,
    Components,
    StateDict,
    component_configs,
    split_components,
)
from ....hummingbird_core.vae import SCALING_FACTOR
from ....hummingbird_core.weights.tensor_files import TensorFile, open_tensors
from .autoencoder import NORM_GROUPS, build_vae
from .saving import kept_metadata
from .text import build_clip
from .unet import VideoLatents, build_model

WEIGHT_DTYPES = {
    "auto": None,
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp8_e4m3fn": torch.float8_e4m3fn,
}


@dataclass(frozen=True)
class NativeModels:
    """The components of a checkpoint; None for one that the file lacks."""

    model: comfy.model_patcher.ModelPatcher
    clip: comfy.sd.CLIP | None
    vae: comfy.sd.VAE | None


def load_models(path: Path, weight_dtype: str = "auto") -> NativeModels:
    """Load all components of a checkpoint, original or converted.

    Args:
        path: the file.
        weight_dtype: of the U-Net, a key of `WEIGHT_DTYPES`. fp32 also applies to the text encoder
            and the VAE; otherwise ComfyUI chooses their dtypes.

    Raises:
        CheckpointError: the file is damaged, unsafe, or not of this family.
    """
    dtype = torch.float32 if weight_dtype == "fp32" else None
    opened = _Opened.of(path)
    return NativeModels(
        model=_load_model(opened, path, weight_dtype),
        clip=_load_clip(opened, dtype) if opened.components.text else None,
        vae=_load_vae(opened, dtype) if opened.components.vae else None,
    )


def describe_lacks(models: NativeModels) -> str:
    """Return a message about missing components, empty if the file holds all."""
    parts = {"CLIP": models.clip, "VAE": models.vae}
    lacks = " and no ".join(name for name, part in parts.items() if part is None)
    return f"This file holds no {lacks}: take it from another Load Hummingbird." if lacks else ""


def load_model(
    path: Path, weight_dtype: str = "auto", disable_dynamic: bool = False
) -> comfy.model_patcher.ModelPatcher:
    """Load the MODEL of a checkpoint; ComfyUI calls this to rebuild it as another patcher class."""
    return _load_model(_Opened.of(path), path, weight_dtype, disable_dynamic)


@dataclass(frozen=True)
class _Opened:
    """A checkpoint whose header is read, but not its tensors."""

    file: TensorFile
    components: Components
    configs: ComponentConfigs

    @classmethod
    def of(cls, path: Path) -> _Opened:
        file = open_tensors(path)
        components = split_components(file.tensors)
        return cls(file, components, component_configs(file, components))


def _load_model(
    opened: _Opened, path: Path, weight_dtype: str, disable_dynamic: bool = False
) -> comfy.model_patcher.ModelPatcher:
    model = build_model(
        opened.configs.unet,
        _read(opened.components.unet),
        dtype=WEIGHT_DTYPES[weight_dtype],
        latent_format=_latent_format(opened.configs),
        metadata=kept_metadata(opened.configs, opened.file.metadata),
        disable_dynamic=disable_dynamic,
    )
    model.cached_patcher_init = (load_model, (path, weight_dtype))
    return model


def _load_clip(opened: _Opened, dtype: torch.dtype | None) -> comfy.sd.CLIP:
    text = opened.configs.text
    return build_clip(
        _read(opened.components.text),
        heads=text.get("heads"),
        skip_last=text.get("skip_last", 1),
        tokenizer=opened.file.metadata.get(TOKENIZER_KEY),
        dtype=dtype,
    )


def _load_vae(opened: _Opened, dtype: torch.dtype | None) -> comfy.sd.VAE:
    config = opened.configs.vae
    return build_vae(
        _read(opened.components.vae),
        scaling_factor=config.get("scaling_factor", SCALING_FACTOR),
        norm_num_groups=config.get("norm_num_groups", NORM_GROUPS),
        dtype=dtype,
    )


def _latent_format(configs: ComponentConfigs) -> VideoLatents:
    """Return the latents' scale and the linear map to RGB that previews use.

    ComfyUI knows both for Stable Diffusion's VAE. For another VAE the checkpoint may hold the map
    (`preview_colours`): one row of red, green and blue per channel, then one for the bias.
    """
    latent_format = VideoLatents(configs.vae.get("scaling_factor", SCALING_FACTOR))
    if latent_format.scale_factor != SCALING_FACTOR:
        *factors, bias = configs.vae.get("preview_colours") or [None]
        latent_format.latent_rgb_factors = factors or None  # without them there is no preview
        latent_format.latent_rgb_factors_bias = bias
    return latent_format


def _read(part: StateDict) -> dict[str, Tensor]:
    return {key: tensor.read() for key, tensor in part.items()}
