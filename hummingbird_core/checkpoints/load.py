"""Models from a checkpoint file, without running code from it.

checkpoint = load_checkpoint("07B_merged_all.pt")       # as released: a pickled model
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..errors import CheckpointError, InputError
from ..unet.model import HummingbirdUNet, UNetConfig
from ..weights.tensor_files import TensorFile, open_tensors, stored_dtype
from .layout import (
    TOKENIZER_KEY,
    ComponentConfigs,
    StateDict,
    checkpoint_file,
    component_configs,
    preset_name,
    split_components,
)

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

    from ..text.encoder import TextEncoder

OnLoaded = Callable[[nn.Module, str], None]


@dataclass
class Checkpoint:
    """Models of one checkpoint, in eval mode.

    Attributes:
        unet: the noise predictor.
        vae: diffusers' AutoencoderKL; None if the file holds none.
        text_encoder: the CLIP text model; None if the file holds none.
        preset: name of the U-Net's shape, or "custom".
        metadata: of a safetensors file; empty for pickles.
    """

    unet: HummingbirdUNet
    vae: AutoencoderKL | None
    text_encoder: TextEncoder | None
    preset: str
    metadata: dict[str, str] = field(default_factory=dict)


def load_checkpoint(
    path: str | Path,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    on_loaded: OnLoaded | None = None,
) -> Checkpoint:
    """Build the models of a checkpoint file, or of a folder that holds exactly one.

    Args:
        path: original or converted checkpoint, or a bare U-Net.
        dtype: of the weights; None keeps the stored dtype.
        device: target of the weights, which move one tensor at a time.
        on_loaded: called with a model and the name of a submodule once that has its weights ("" for
            the whole text encoder or VAE), so that it can shrink before the next one is read.

    Returns:
        the models, in eval mode.

    Raises:
        CheckpointError: the file is damaged or unsafe, or its keys do not match; the message names
            missing, unexpected and mis-shaped keys.
    """
    file = open_tensors(checkpoint_file(Path(path)))
    components = split_components(file.tensors)
    configs = component_configs(file, components)
    on_loaded = on_loaded or (lambda model, name: None)
    # The U-Net comes last: the text encoder is the largest that is read as a whole.
    text_encoder = _load_text(file, configs, _read(components.text, dtype, device))
    if text_encoder is not None:
        on_loaded(text_encoder, "")
    vae = _load_vae(configs, _read(components.vae, dtype, device))
    if vae is not None:
        on_loaded(vae, "")
    return Checkpoint(
        unet=_load_unet(configs.unet, components.unet, dtype, device, on_loaded),
        vae=vae,
        text_encoder=text_encoder,
        preset=preset_name(file, configs),
        metadata=file.metadata,
    )


def _read(
    tensors: StateDict, dtype: torch.dtype | None, device: torch.device | str
) -> dict[str, Tensor]:
    return {key: t.read().to(device, stored_dtype(t, dtype)) for key, t in tensors.items()}


def submodule_names(unet: HummingbirdUNet) -> Iterator[str]:
    """Yield the names of the submodules that together hold all weights, e.g. "input_blocks.3"."""
    for name, child in unet.named_children():
        if isinstance(child, nn.ModuleList):
            yield from (f"{name}.{index}" for index in range(len(child)))
        else:
            yield name


def _load_unet(
    config: UNetConfig,
    tensors: StateDict,
    dtype: torch.dtype | None,
    device: torch.device | str,
    on_loaded: OnLoaded,
) -> HummingbirdUNet:
    # On the meta device, no random weights are drawn only to be replaced.
    unet = HummingbirdUNet(config, device="meta").eval()
    for name in submodule_names(unet):
        prefix = f"{name}."
        own = {key.removeprefix(prefix): t for key, t in tensors.items() if key.startswith(prefix)}
        weights = _read(own, dtype, device)
        unet.get_submodule(name).load_state_dict(weights, strict=True, assign=True)
        on_loaded(unet, name)
    return unet


def _load_vae(configs: ComponentConfigs, weights: dict[str, Tensor]) -> AutoencoderKL | None:
    if not weights:
        return None
    from ..vae.codec import load_vae

    arguments = ("scaling_factor", "norm_num_groups", "latents_are_images")
    known = {key: value for key, value in configs.vae.items() if key in arguments}
    return load_vae(weights, **known)


def _load_text(
    file: TensorFile, configs: ComponentConfigs, weights: dict[str, Tensor]
) -> TextEncoder | None:
    if not weights:
        return None
    from ..text.encoder import load_text_encoder

    try:
        return load_text_encoder(
            weights,
            num_heads=configs.text.get("heads"),
            tokenizer=file.metadata.get(TOKENIZER_KEY),
            layers_to_skip=configs.text.get("skip_last", 1),
        )
    except InputError as error:  # parts of the file that do not belong together
        raise CheckpointError(f"{file.path.name} is damaged: {error}") from error
