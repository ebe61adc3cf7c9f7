"""Loads, converts and describes checkpoints, without ever running code from them.

    checkpoint = load_checkpoint("07B_merged_all.pt")       # as released: a pickled model
    convert_checkpoint("07B_merged_all.pt", "hummingbird.safetensors")

A converted file keeps the checkpoint's own key names. Its metadata says what it is:
`hummingbird.preset`, `.source` and `.source_sha256` (file it was made from), `.licence`, `.dtype`,
`.config` (JSON: what the shapes don't tell), `.tokenizer` (JSON; absent means CLIP's).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..errors import CheckpointError, InputError, OutputError
from ..files import check_destination, sha256_of_file, weights_files
from ..hub.download import CATALOG
from ..unet.model import HummingbirdUNet, UNetConfig
from ..weights.state_dict import count_parameters
from ..weights.tensor_files import (
    ByteProgress,
    TensorFile,
    open_tensors,
    stored_dtype,
    write_safetensors,
)
from .layout import (
    CONFIG_KEY,
    ComponentConfigs,
    Components,
    StateDict,
    component_configs,
    split_components,
)

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

    from ..text.encoder import TextEncoder

CUSTOM_PRESET = "custom"  # a U-Net of none of the known shapes
PRESET_KEY = "hummingbird.preset"
TOKENIZER_KEY = "hummingbird.tokenizer"
LICENCE_KEY = "hummingbird.licence"

OnLoaded = Callable[[nn.Module, str], None]


@dataclass
class Checkpoint:
    """The models of one checkpoint, in eval mode.

    Attributes:
        unet: predicts noise.
        vae: diffusers' AutoencoderKL; None if the file has none.
        text_encoder: None if the file has none.
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
    """Builds the models of a checkpoint file, or of a folder that holds exactly one.

    Args:
        path: original or converted checkpoint, or a bare U-Net.
        dtype: of the weights; None keeps what is stored.
        device: where the weights go, one tensor at a time.
        on_loaded: called with a model and the name of a part of it as soon as that has its weights
            ("" for a whole text encoder or VAE): to make it smaller before the next one comes.

    Raises:
        CheckpointError: the file is damaged or unsafe, or its keys do not fit: names missing,
            unexpected and mis-shaped ones.
    """
    file = open_tensors(_checkpoint_file(Path(path)))
    components = split_components(file.tensors)
    configs = component_configs(file, components)
    on_loaded = on_loaded or (lambda model, part: None)
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
        preset=_preset(file, configs),
        metadata=file.metadata,
    )


def _checkpoint_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    found = weights_files(path)
    if len(found) != 1:
        names = ", ".join(file.name for file in found[:5]) or "none"
        raise CheckpointError(
            f"folder {path} holds {len(found)} checkpoints ({names}), expected one: name the file"
        )
    return found[0]


def _read(
    part: StateDict, dtype: torch.dtype | None, device: torch.device | str
) -> dict[str, Tensor]:
    return {key: t.read().to(device, stored_dtype(t, dtype)) for key, t in part.items()}


def submodule_names(unet: HummingbirdUNet) -> Iterator[str]:
    """Names of the components that together hold all weights, such as "input_blocks.3"."""
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
    # On "meta" no random weights are made only to be thrown away.
    unet = HummingbirdUNet(config, device="meta").eval()
    for name in submodule_names(unet):
        prefix = f"{name}."
        part = {key.removeprefix(prefix): t for key, t in tensors.items() if key.startswith(prefix)}
        weights = _read(part, dtype, device)
        unet.get_submodule(name).load_state_dict(weights, strict=True, assign=True)
        on_loaded(unet, name)
    return unet


def _load_vae(configs: ComponentConfigs, weights: dict[str, Tensor]) -> AutoencoderKL | None:
    if not weights:
        return None
    from ..vae.codec import load_vae

    known = {k: v for k, v in configs.vae.items() if k in ("scaling_factor", "norm_num_groups")}
    return load_vae(weights, **known)


def _load_text(
    file: TensorFile, configs: ComponentConfigs, weights: dict[str, Tensor]
) -> TextEncoder | None:
    if not weights:
        return None
    from ..text.encoder import load_text_encoder

    return load_text_encoder(
        weights,
        num_heads=configs.text.get("heads"),
        tokenizer=file.metadata.get(TOKENIZER_KEY),
        layers_to_skip=configs.text.get("skip_last", 1),
    )


def _preset(file: TensorFile, configs: ComponentConfigs) -> str:
    return file.metadata.get(PRESET_KEY) or configs.unet.preset or CUSTOM_PRESET


def convert_checkpoint(
    source: str | Path,
    destination: str | Path,
    dtype: torch.dtype = torch.float16,
    overwrite: bool = False,
    progress: ByteProgress | None = None,
) -> dict[str, Any]:
    """Turns a checkpoint into one safetensors file that any tool can load safely.

    Tensors stream through memory one at a time. What generation does not use (schedule tables,
    vision tower, teacher) is left out. The file appears only when it is complete.

    Args:
        source: any checkpoint that `load_checkpoint` takes.
        destination: name of the new file, ending in .safetensors.
        dtype: of floating-point tensors.
        overwrite: whether an older file of that name may be replaced.
        progress: called with (bytes done, bytes in all) after each tensor.

    Returns:
        what was written: file, preset, tensors, parameters, size_bytes, source_sha256, dropped.

    Raises:
        CheckpointError: the source is damaged, unsafe or does not fit any model.
        InputError: `dtype` is not a floating-point type, or both names are the same file.
        OutputError: the destination exists, or cannot be written.
    """
    source, destination = _checkpoint_file(Path(source)), Path(destination)
    file = open_tensors(source)
    _check_conversion(source, destination, dtype)
    check_destination(destination, overwrite=overwrite)
    components = split_components(file.tensors)
    configs = component_configs(file, components)
    metadata = _conversion_metadata(file, configs, dtype)
    tensors = components.with_prefixes()
    size = write_safetensors(
        destination, tensors, dtype=dtype, metadata=metadata, progress=progress
    )
    return {
        "file": str(destination),
        "preset": metadata[PRESET_KEY],
        "tensors": len(tensors),
        "parameters": sum(_parameter_counts(components).values()),
        "size_bytes": size,
        "source_sha256": metadata["hummingbird.source_sha256"],
        "dropped": len(file.tensors) - len(tensors),
    }


def _check_conversion(source: Path, destination: Path, dtype: torch.dtype) -> None:
    if not dtype.is_floating_point:
        raise InputError(f"got dtype {dtype}, expected float16, bfloat16 or float32: choose one")
    if destination.suffix != ".safetensors":
        raise OutputError(f"got {destination.name}, expected a name that ends in .safetensors")
    if destination.exists() and destination.samefile(source):
        raise InputError(f"got {source} as source and destination: choose another destination")


def _conversion_metadata(
    file: TensorFile, configs: ComponentConfigs, dtype: torch.dtype
) -> dict[str, str]:
    preset = _preset(file, configs)
    licence = CATALOG[preset].licence if preset in CATALOG else "that of the source file"
    return {
        LICENCE_KEY: licence,
        **file.metadata,  # of a source that was converted before, such as its tokenizer
        "format": "pt",
        PRESET_KEY: preset,
        CONFIG_KEY: configs.to_json(),
        "hummingbird.source": file.path.name,
        "hummingbird.source_sha256": sha256_of_file(file.path),
        "hummingbird.dtype": str(dtype).removeprefix("torch."),
    }


def checkpoint_info(path: str | Path) -> dict[str, Any]:
    """What a checkpoint holds, from its headers alone; every value can go into JSON.

    Returns:
        file, size_bytes, format ("safetensors" or "pickle"), converted, preset (None if it does
        not fit), problem (why, else None), parameters (of each model), dtypes, metadata.

    Raises:
        CheckpointError: the file is missing, damaged, unsafe or not a weights file.
    """
    file = open_tensors(_checkpoint_file(Path(path)))
    components = split_components(file.tensors)
    preset, problem = None, None
    try:
        preset = _preset(file, component_configs(file, components))
    except CheckpointError as error:
        problem = str(error)
    dtypes = {str(t.dtype).removeprefix("torch.") for t in components.with_prefixes().values()}
    return {
        "file": file.path.name,
        "size_bytes": file.path.stat().st_size,
        "format": file.format,
        "converted": CONFIG_KEY in file.metadata,
        "preset": preset,
        "problem": problem,
        "parameters": _parameter_counts(components),
        "dtypes": sorted(dtypes),
        "metadata": file.metadata,
    }


def _parameter_counts(components: Components) -> dict[str, int]:
    models = {"unet": components.unet, "vae": components.vae, "text_encoder": components.text}
    return {name: count_parameters(part.values()) for name, part in models.items()}
