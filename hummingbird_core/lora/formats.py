"""The ways in which LoRA files name their tensors, read into one form.

A LoRA (arXiv 2106.09685) adds `scale * up @ down` to the weight of a layer. Known are:

- flat list: `[up, down, up, down, ...]` without names, as T2V-Turbo and Hummingbird publish it; the
  order is that of the U-Net's layers;
- PEFT: `base_model.model.<layer>.lora_A.weight` (down), `.lora_B.weight` (up), alpha in a JSON;
- kohya: `lora_unet_<layer with underscores>.lora_down.weight`, `.lora_up.weight`, `.alpha`;
- ComfyUI: `diffusion_model.<layer>.` with the endings of kohya or PEFT.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import CheckpointError
from ..unet.model import PRESETS, HummingbirdUNet, UNetConfig

GUIDANCE_LAYER = "time_cond_proj"
LAYER_BEFORE_GUIDANCE = "fps_embedding.2"
NO_GUIDANCE_LAYER = (
    "this U-Net has no guidance input; in the teacher's LoRA training the base weight of that "
    "layer was random and was not saved, so its part of the LoRA means nothing without it"
)
PREFIXES = {  # of a layer's name -> format
    "base_model.model.": "peft",
    "diffusion_model.": "comfyui",
    "lora_unet_": "kohya",
    "unet.": "peft",
}
PARTS = {
    "lora_up.weight": "up",
    "lora_B.weight": "up",
    "lora_down.weight": "down",
    "lora_A.weight": "down",
    "alpha": "alpha",
}
# Where the layer's name ends; the last four are relatives of LoRA that are told apart, not read.
PART_BOUNDARY = re.compile(r"\.(?=lora_|alpha$|dora_|hada_|lokr_|diff)")


class LoRAWeight(NamedTuple):
    """What is added to one layer: up `[out, r, 1...]`, down `[r, in, kernel...]`, and a factor."""

    up: Tensor
    down: Tensor
    scale: float

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    def delta(self, like: Tensor) -> Tensor:
        """scale * up @ down in the shape and on the device of `like`, in at least fp32."""
        dtype = torch.promote_types(like.dtype, torch.float32)
        up, down = (part.flatten(1).to(like.device, dtype) for part in (self.up, self.down))
        # [out, r] @ [r, in * kernel] -> [out, in, kernel...]
        return self.scale * (up @ down).reshape(like.shape)


@dataclass
class LoRA:
    """A LoRA that fits a certain U-Net."""

    weights: dict[str, LoRAWeight]
    """By layer name, in the U-Net's order."""
    format: str
    """The naming it was read from: "flat", "peft", "kohya", "comfyui" or "new"."""
    unused: list[str] = field(default_factory=list)
    """Every tensor of the file that has no effect, as "name: reason"."""
    warnings: list[str] = field(default_factory=list)
    """What the user should know before trusting the result."""

    @property
    def rank(self) -> int:
        """The highest rank of any layer; small layers have a lower one."""
        return max(weight.rank for weight in self.weights.values())


def lora_targets(unet: nn.Module) -> dict[str, nn.Module]:
    """The layers that a LoRA may change: every Linear, Conv2d and Conv3d, in the U-Net's order."""
    kinds = (nn.Linear, nn.Conv2d, nn.Conv3d)
    return {name: layer for name, layer in unet.named_modules() if isinstance(layer, kinds)}


def read_flat(tensors: Sequence[Any], unet: HummingbirdUNet) -> LoRA:
    """A list `[up, down, up, down, ...]` in the order of the layers.

    Raises:
        CheckpointError: the list belongs to another U-Net, or holds something else.
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
    tensors: Mapping[str, Tensor], unet: HummingbirdUNet, config: Mapping[str, Any] | None = None
) -> LoRA:
    """Tensors named as PEFT, kohya or ComfyUI do; `config` is PEFT's adapter_config.json."""
    targets = lora_targets(unet)
    names = {name.replace(".", "_"): name for name in targets} | {name: name for name in targets}
    layers: defaultdict[str, dict[str, str]] = defaultdict(dict)  # label -> part -> key
    for key in tensors:
        label, part = _split_key(key)
        layers[label][part] = key
    lora = LoRA({}, _format_of(layers))
    for label, keys in layers.items():
        name = names.get(_strip_prefix(label), "")
        reason = _unusable(keys, tensors, targets.get(name), _strip_prefix(label))
        if reason:
            lora.unused += [f"{key}: {reason}" for key in keys.values()]
        else:
            up, down = tensors[keys["up"]], tensors[keys["down"]]
            alpha = float(tensors[keys["alpha"]]) if "alpha" in keys else None
            lora.weights[name] = LoRAWeight(up, down, _scale(name, down.shape[0], alpha, config))
    lora.weights = {name: lora.weights[name] for name in targets if name in lora.weights}
    return lora


def comfyui_tensors(lora: LoRA) -> dict[str, Tensor]:
    """The tensors by the names that ComfyUI's own LoRA nodes know."""
    tensors = {}
    for name, (up, down, scale) in lora.weights.items():
        tensors[f"diffusion_model.{name}.lora_up.weight"] = up.contiguous()
        tensors[f"diffusion_model.{name}.lora_down.weight"] = down.contiguous()
        tensors[f"diffusion_model.{name}.alpha"] = torch.tensor(scale * down.shape[0])
    return tensors


def peft_tensors(lora: LoRA) -> dict[str, Tensor]:
    """The tensors by PEFT's names; `peft_config` says the rest."""
    tensors = {}
    for name, (up, down, _) in lora.weights.items():
        tensors[f"base_model.model.{name}.lora_B.weight"] = up.contiguous()
        tensors[f"base_model.model.{name}.lora_A.weight"] = down.contiguous()
    return tensors


def peft_config(lora: LoRA) -> dict[str, Any]:
    """Arguments of `peft.LoraConfig`: rank and alpha, and the layers where they differ."""
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
    """ "layer.lora_A.default.weight" -> ("layer", "down"); what is unknown keeps its own name."""
    label, *ending = PART_BOUNDARY.split(key, maxsplit=1)
    part = ".".join(ending).replace(".default", "")  # PEFT's name for the only adapter
    return label, PARTS.get(part, part)


def _strip_prefix(label: str) -> str:
    for prefix in PREFIXES:
        label = label.removeprefix(prefix)
    return label


def _format_of(labels: Mapping[str, Any]) -> str:
    """The format by the first layer's prefix; names without one are PEFT's."""
    first = next(iter(labels), "")
    return next((name for prefix, name in PREFIXES.items() if first.startswith(prefix)), "peft")


def _unusable(
    keys: Mapping[str, str], tensors: Mapping[str, Tensor], layer: nn.Module | None, name: str
) -> str | None:
    """Why the tensors of one layer can't be used, or None."""
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
    """Why up and down can't change the weight of `layer`, or None."""
    if not (isinstance(up, Tensor) and isinstance(down, Tensor)):
        return f"got {type(up).__name__} and {type(down).__name__}, expected tensors"
    weight = layer.get_parameter("weight")
    # up: a 1x1 convolution or a matrix; down: the kernel of the layer, with its outputs replaced.
    rank = down.shape[0] if down.ndim else 0
    expected_up = (weight.shape[0], rank)
    is_pointwise = tuple(up.shape[:2]) == expected_up and up.numel() == math.prod(expected_up)
    if rank and is_pointwise and tuple(down.shape[1:]) == tuple(weight.shape[1:]):
        return None
    return (
        f"got up {tuple(up.shape)} and down {tuple(down.shape)}, "
        f"expected ({weight.shape[0]}, r) and (r, {', '.join(map(str, weight.shape[1:]))})"
    )


def _scale(name: str, rank: int, alpha: float | None, config: Mapping[str, Any] | None) -> float:
    """alpha / rank; 1 where nothing says alpha, as other loaders take it."""
    if alpha is None and config:
        patterns = config.get("alpha_pattern") or {}
        matches = (patterns[p] for p in patterns if re.match(rf"(.*\.)?({p})$", name))
        alpha = float(next(matches, config["lora_alpha"]))
        if config.get("use_rslora"):  # arXiv 2312.03732
            return alpha / math.sqrt(rank)
    return 1.0 if alpha is None else alpha / rank


def _fitting_presets(num_tensors: int) -> str:
    fitting = [name for name, count in _list_lengths() if count == num_tensors]
    if fitting:
        return f"it fits {', '.join(fitting)}, so load that model"
    return "it fits no released model, so check that the file is complete"


def _list_lengths() -> Iterator[tuple[str, int]]:
    for preset in PRESETS:
        config = UNetConfig.from_preset(preset, guidance_embedding=True)
        yield preset, 2 * len(lora_targets(HummingbirdUNet(config, device="meta")))
