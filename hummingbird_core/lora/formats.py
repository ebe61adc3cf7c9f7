"""LoRA file formats, read into and written from one representation.

A LoRA (arXiv 2106.09685, section 4.1) changes the weight W of a layer by a product of rank r:

    W' = W + s (alpha / r) B A

with the user's strength s. A (`down`) and B (`up`) have the shapes

    Linear       W [out, in]                A [r, in]                B [out, r]
    Conv2d       W [out, in, kh, kw]        A [r, in, kh, kw]        B [out, r, 1, 1]
    Conv3d       W [out, in, kt, kh, kw]    A [r, in, kt, kh, kw]    B [out, r, 1, 1, 1]

where the product of a convolution flattens all but the first dimension: `[out, r] @ [r, in kh kw]`.

The formats differ in the names of the tensors:

- flat list: `[up, down, up, down, ...]` without names, published by T2V-Turbo and Hummingbird, in
  the order of the U-Net's layers;
- PEFT: `base_model.model.<layer>.lora_A.weight` (down), `.lora_B.weight` (up), alpha in a JSON or
  in the header (`settings.py`);
- kohya: `lora_unet_<layer with underscores>.lora_down.weight`, `.lora_up.weight`, `.alpha`;
- ComfyUI: `diffusion_model.<layer>.` with the suffixes of kohya or PEFT.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import CheckpointError
from ..unet.model import PRESETS, HummingbirdUNet, UNetConfig
from ..unet.shapes import unet_without_weights
from .settings import AdapterSettings, alpha_of

GUIDANCE_LAYER = "time_cond_proj"
LAYER_BEFORE_GUIDANCE = "fps_embedding.2"
NO_GUIDANCE_LAYER = (
    "this U-Net has no guidance input; during the teacher's LoRA training the base weight of that "
    "layer was random and was not saved, so its LoRA is useless on its own"
)
PREFIXES = {  # prefix of a layer's name -> format; several can follow each other
    "module.": "peft",
    "base_model.model.": "peft",
    "model.diffusion_model.": "comfyui",
    "diffusion_model.": "comfyui",
    "lora_unet_": "kohya",
    "unet.": "peft",
}
FACTORS = {  # suffix of a tensor's name -> factor of the product
    "lora_up.weight": "up",
    "lora_B.weight": "up",
    "lora_down.weight": "down",
    "lora_A.weight": "down",
    "alpha": "alpha",
}
# End of the layer's name. The last four belong to variants of LoRA: reported, but not read.
SUFFIX_BOUNDARY = re.compile(r"\.(?=lora_|alpha$|dora_|hada_|lokr_|diff(?:_b)?$)")


class LoRAWeight(NamedTuple):
    """Low-rank change of one layer's weight.

    Attributes:
        up: B, `[out, r]` or `[out, r, 1, ...]` for a convolution.
        down: A, `[r, in]` or `[r, in, kernel...]`.
        scale: alpha / r.
    """

    up: Tensor
    down: Tensor
    scale: float

    @property
    def rank(self) -> int:
        """Rank r of the product."""
        return self.down.shape[0]

    @property
    def bound(self) -> float:
        """A bound of the change's largest number, |scale| r max|B| max|A|."""
        up, down = (float(factor.double().abs().max()) for factor in (self.up, self.down))
        return abs(self.scale) * self.rank * up * down

    def delta(self, like: Tensor) -> Tensor:
        """Return (alpha / r) B A in the shape and on the device of `like`, in at least fp32."""
        dtype = torch.promote_types(like.dtype, torch.float32)
        # [out, r, 1...] -> [out, r]; [r, in, kernel...] -> [r, in * kernel]
        up, down = (factor.flatten(1).to(like.device, dtype) for factor in (self.up, self.down))
        # [out, r] @ [r, in * kernel] -> [out, in, kernel...]
        return self.scale * (up @ down).reshape(like.shape)


@dataclass
class LoRA:
    """A LoRA matched to the layers of a U-Net.

    Attributes:
        weights: changes by layer name, in the U-Net's order.
        format: format it was read from: "flat", "peft", "kohya", "comfyui" or "new".
        unused: tensors of the file without effect, as "name: reason".
        warnings: reasons why the result may be wrong, for the user.
        metadata: of its file, see `metadata`.
    """

    weights: dict[str, LoRAWeight]
    format: str
    unused: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def trigger(self) -> str:
        """Word that calls for it, by its metadata; "" if there is none."""
        return self.metadata.get("modelspec.trigger_phrase", "")

    @property
    def rank(self) -> int:
        """Highest rank of any layer; small layers have a lower one."""
        return max(weight.rank for weight in self.weights.values())


def lora_targets(unet: nn.Module) -> dict[str, nn.Module]:
    """Return all layers a LoRA can change (Linear, Conv2d, Conv3d), in the U-Net's order."""
    kinds = (nn.Linear, nn.Conv2d, nn.Conv3d)
    return {name: layer for name, layer in unet.named_modules() if isinstance(layer, kinds)}


def read_flat(tensors: Sequence[Any], unet: HummingbirdUNet) -> LoRA:
    """Read a list `[up, down, up, down, ...]` in the order of the layers.

    Args:
        tensors: the list; 2 tensors per layer.
        unet: the U-Net to match it to.

    Raises:
        CheckpointError: the list belongs to another U-Net, or holds other things than tensors.
    """
    targets = lora_targets(unet)
    names = list(targets)
    if len(tensors) == 2 * len(names) + 2 and GUIDANCE_LAYER not in targets:
        names.insert(names.index(LAYER_BEFORE_GUIDANCE) + 1, GUIDANCE_LAYER)
    if len(tensors) != 2 * len(names):
        raise CheckpointError(
            f"got a LoRA list of {len(tensors)} tensors, expected {2 * len(names)} for this U-Net: "
            f"{_fitting_presets(len(tensors))}"
        )
    lora = LoRA({}, "flat")
    for i, name in enumerate(names):
        up, down = tensors[2 * i : 2 * i + 2]
        if name not in targets:
            lora.unused.append(f"{name} (elements {2 * i} and {2 * i + 1}): {NO_GUIDANCE_LAYER}")
        elif reason := _misfit(up, down, targets[name]):
            raise CheckpointError(
                f"got LoRA list elements {2 * i} and {2 * i + 1} for {name} that do not fit "
                f"({reason}): check that the file was made for this U-Net"
            )
        else:
            lora.weights[name] = LoRAWeight(up.detach(), down.detach(), 1.0)
    return lora


def read_named(
    tensors: Mapping[str, Tensor], unet: HummingbirdUNet, settings: AdapterSettings | None = None
) -> LoRA:
    """Read tensors with the names of PEFT, kohya or ComfyUI.

    Args:
        tensors: tensors by name.
        unet: the U-Net to match them to.
        settings: scales of the layers that have no alpha among the tensors.

    Raises:
        CheckpointError: two tensors are for one weight, or the scale of a layer is unknown.
    """
    settings = settings or AdapterSettings()
    targets = lora_targets(unet)
    names = {name.replace(".", "_"): name for name in targets} | {name: name for name in targets}
    layers = _layers(tensors)
    lora = LoRA({}, format_of(layers))
    for label, keys in layers.items():
        name = names.get(_strip_prefix(label), "")
        reason = _unusable(keys, tensors, targets.get(name), _strip_prefix(label))
        if reason:
            lora.unused += [f"{key}: {reason}" for key in keys.values()]
            continue
        if name in lora.weights:
            raise CheckpointError(
                f"got two LoRAs for {name} in one file, the second as {label}, expected one: save "
                "it with one set of names"
            )
        up, down = tensors[keys["up"]], tensors[keys["down"]]
        rank = down.shape[0]
        scale = (
            alpha_of(name, tensors[keys["alpha"]]) / rank
            if "alpha" in keys
            else settings.scale(name, rank)
        )
        lora.weights[name] = LoRAWeight(up, down, scale)
    lora.weights = {name: lora.weights[name] for name in targets if name in lora.weights}
    return lora


def _layers(tensors: Iterable[str]) -> dict[str, dict[str, str]]:
    """Group the names of tensors by layer: label -> factor -> key."""
    layers: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for key in tensors:
        label, factor = _split_key(key)
        if factor in layers[label]:
            raise CheckpointError(
                f"got {key} and {layers[label][factor]} in one LoRA, expected one adapter: save "
                "them in two files"
            )
        layers[label][factor] = key
    return dict(layers)


def comfyui_tensors(lora: LoRA) -> dict[str, Tensor]:
    """Return the tensors by the names that ComfyUI's own LoRA nodes read."""
    tensors = {}
    for name, (up, down, scale) in lora.weights.items():
        tensors[f"diffusion_model.{name}.lora_up.weight"] = up.contiguous()
        tensors[f"diffusion_model.{name}.lora_down.weight"] = down.contiguous()
        tensors[f"diffusion_model.{name}.alpha"] = torch.tensor(scale * down.shape[0])
    return tensors


def peft_tensors(lora: LoRA) -> dict[str, Tensor]:
    """Return the tensors by PEFT's names; `peft_config` holds their scales."""
    tensors = {}
    for name, (up, down, _) in lora.weights.items():
        tensors[f"base_model.model.{name}.lora_B.weight"] = up.contiguous()
        tensors[f"base_model.model.{name}.lora_A.weight"] = down.contiguous()
    return tensors


def peft_config(lora: LoRA) -> dict[str, Any]:
    """Return the arguments of `peft.LoraConfig`: r and alpha, and the layers where they differ."""
    ranks = {name: weight.rank for name, weight in lora.weights.items()}
    alphas = {name: weight.scale * weight.rank for name, weight in lora.weights.items()}
    rank = lora.rank
    alpha = next(alphas[name] for name in ranks if ranks[name] == rank)
    return {
        "r": rank,
        "lora_alpha": alpha,
        "target_modules": list(lora.weights),
        "rank_pattern": {name: r for name, r in ranks.items() if r != rank},
        "alpha_pattern": {name: a for name, a in alphas.items() if a != alpha},
    }


def _split_key(key: str) -> tuple[str, str]:
    """Split "layer.lora_A.default.weight" into ("layer", "down"); keep an unknown suffix as is."""
    label, *rest = SUFFIX_BOUNDARY.split(key, maxsplit=1)
    suffix = ".".join(rest).replace(".default", "")  # PEFT's name of the only adapter
    return label, FACTORS.get(suffix, suffix)


def _strip_prefix(label: str) -> str:
    for prefix in PREFIXES:
        label = label.removeprefix(prefix)
    return label


def format_of(labels: Iterable[str]) -> str:
    """Return the format by the first layer's prefix; names without a prefix are PEFT's."""
    first = next(iter(labels), "")
    return next((name for prefix, name in PREFIXES.items() if first.startswith(prefix)), "peft")


def _unusable(
    keys: Mapping[str, str], tensors: Mapping[str, Tensor], layer: nn.Module | None, name: str
) -> str | None:
    """Return why the tensors of one layer can't be used, or None if they can."""
    if "up" not in keys and "down" not in keys:
        return "not the weight of a LoRA"
    if layer is None:
        return NO_GUIDANCE_LAYER if name == GUIDANCE_LAYER else "no such layer in this U-Net"
    if foreign := set(keys) - {"up", "down", "alpha"}:
        return f"this is not plain LoRA: it has {', '.join(sorted(foreign))} too"
    if len(set(keys) & {"up", "down"}) < 2:
        return "its other half is missing"
    return _misfit(tensors[keys["up"]], tensors[keys["down"]], layer)


def _misfit(up: Any, down: Any, layer: nn.Module) -> str | None:
    """Return why up and down don't match the weight of `layer`, or None if they do."""
    if not (isinstance(up, Tensor) and isinstance(down, Tensor)):
        return f"got {type(up).__name__} and {type(down).__name__}, expected tensors"
    for factor in (up, down):
        if not factor.dtype.is_floating_point:
            kind = str(factor.dtype).removeprefix("torch.")
            return f"stored as {kind}, expected floating-point numbers"
    weight = layer.get_parameter("weight")
    # up: [out, r] or [out, r, 1, ...]; down: the layer's own shape, with r outputs.
    rank = down.shape[0] if down.ndim else 0
    expected_up = (weight.shape[0], rank)
    is_pointwise = tuple(up.shape[:2]) == expected_up and up.numel() == math.prod(expected_up)
    if rank and is_pointwise and tuple(down.shape[1:]) == tuple(weight.shape[1:]):
        return None
    return (
        f"got up {tuple(up.shape)} and down {tuple(down.shape)}, "
        f"expected ({weight.shape[0]}, r) and (r, {', '.join(map(str, weight.shape[1:]))})"
    )


def _fitting_presets(num_tensors: int) -> str:
    fitting = [name for name, count in _list_lengths() if count == num_tensors]
    if fitting:
        return f"it fits {', '.join(fitting)}, so load that model"
    return "it fits no released model, so check that the file is complete"


def _list_lengths() -> Iterator[tuple[str, int]]:
    for preset in PRESETS:
        config = UNetConfig.from_preset(preset, guidance_embedding=True)
        yield preset, 2 * len(lora_targets(unet_without_weights(config)))
