"""Settings of a LoRA that its tensors do not show: PEFT's JSON, or the header of the file.

The scale of a layer is alpha / r, or alpha / sqrt(r) for rsLoRA (arXiv 2312.03732). Settings that
would change the result in a way that is not computed here are refused by name.
"""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, InputError
from ..inputs.fields import Flag, Kind, Number, Optional, Whole, check_fields
from ..inputs.json_text import parse_json, read_json

ALPHA, RANK = Number(1e-6, 65536), Whole(1, 65536)
MAX_CONFIG = 4 << 20  # bytes of an adapter_config.json, which lists all layers
PEFT_FIELDS: dict[str, Kind] = {
    "lora_alpha": ALPHA,
    "r": Optional(RANK),
    "use_rslora": Optional(Flag()),
    "use_dora": Optional(Flag()),
    "lora_bias": Optional(Flag()),
    "fan_in_fan_out": Optional(Flag()),
    "use_qalora": Optional(Flag()),
}
CHANGING = ("use_dora", "lora_bias", "fan_in_fan_out", "use_qalora")  # the result, if true
# Initializations that change the base weights too, which the file does not hold.
CHANGED_BASE = ("pissa", "olora", "loftq", "corda")
# Patterns of layers are regular expressions, which can take exponential time. These are names,
# perhaps with escaped dots, of a layer or of the end of one.
PLAIN_PATTERN = re.compile(r"\^?[\w.\\]+\$?")

DIFFUSERS_KEY = "lora_adapter_metadata"  # in headers: JSON of PEFT's settings
HEADER_ALPHAS = ("lora_alpha", "network_alpha", "alpha")
HEADER_RANKS = ("r", "lora_rank", "network_dim", "rank")
KOHYA_KEYS = ("ss_network_alpha", "ss_network_dim")


@dataclass(frozen=True)
class AdapterSettings:
    """Scales of the layers.

    Attributes:
        alpha: of all layers that `alphas` does not name; None: the scale is 1, as in other loaders.
        rank: that the layers should have; None if unknown.
        alphas: alpha by the name of a layer or the end of it.
        ranks: rank, likewise.
        is_rslora: whether alpha is divided by the square root of the rank.
    """

    alpha: float | None = None
    rank: int | None = None
    alphas: Mapping[str, float] = field(default_factory=dict)
    ranks: Mapping[str, int] = field(default_factory=dict)
    is_rslora: bool = False

    def scale(self, layer: str, rank: int) -> float:
        """Return the scale of a layer that has no alpha.

        Raises:
            CheckpointError: its rank is not that of the settings.
        """
        expected = _find(self.ranks, layer, self.rank)
        if expected is not None and expected != rank:
            raise CheckpointError(
                f"got a LoRA whose settings give rank {expected} to {layer}, which has {rank}, "
                "expected one rank: its scale is unknown, get the file again"
            )
        alpha = _find(self.alphas, layer, self.alpha)
        if alpha is None:
            return 1.0
        return alpha / (math.sqrt(rank) if self.is_rslora else rank)


def read_peft_settings(path: Path) -> AdapterSettings:
    """Read PEFT's adapter_config.json.

    Raises:
        CheckpointError: it is damaged, or has a setting that is not supported.
    """
    try:
        return _from_peft(read_json(path, MAX_CONFIG), path.name)
    except InputError as error:
        raise CheckpointError(
            f"got settings without a usable lora_alpha, or not of plain LoRA ({error}), expected "
            "PEFT's: get the LoRA again"
        ) from error


def header_settings(metadata: Mapping[str, str], is_kohya: bool) -> AdapterSettings:
    """Return the settings in the header of a safetensors file.

    Args:
        metadata: the header's texts.
        is_kohya: whether the tensors have kohya's names.

    Raises:
        CheckpointError: they are damaged, or not supported.
    """
    try:
        if DIFFUSERS_KEY in metadata:
            values = parse_json(metadata[DIFFUSERS_KEY], DIFFUSERS_KEY)
            return _from_peft(_of_unet(values), DIFFUSERS_KEY)
        alpha_keys, rank_keys = (
            ((*HEADER_ALPHAS, KOHYA_KEYS[0]), (*HEADER_RANKS, KOHYA_KEYS[1]))
            if is_kohya
            else (HEADER_ALPHAS, HEADER_RANKS)
        )
        alpha = _number(metadata, alpha_keys, ALPHA)
        rank = _number(metadata, rank_keys, RANK) if alpha is not None else None
        return AdapterSettings(alpha, None if rank is None else int(rank))
    except InputError as error:
        raise CheckpointError(
            f"got a LoRA whose header gives no usable alpha ({error}): get the file again"
        ) from error


def alpha_of(layer: str, tensor: Any) -> float:
    """Return the alpha that a file gives to a layer as a tensor.

    Raises:
        CheckpointError: it is not one number in the range of alphas.
    """
    kind = str(tensor.dtype).removeprefix("torch.")
    is_number = tensor.numel() == 1 and kind != "bool" and not tensor.is_complex()
    value = float(tensor) if is_number else math.nan
    if not ALPHA.accepts(value):
        shown = value if is_number else f"a {kind} tensor of shape {[*tensor.shape]}"
        raise CheckpointError(
            f"got alpha {shown} for {layer}, expected {ALPHA.expected}: get the LoRA again"
        )
    return value


def _from_peft(values: Any, where: str) -> AdapterSettings:
    if not isinstance(values, dict) or "lora_alpha" not in values:
        raise InputError(f"{where} has no lora_alpha")
    check_fields({k: v for k, v in values.items() if k in PEFT_FIELDS}, PEFT_FIELDS, where)
    _check_supported(values, where)
    return AdapterSettings(
        float(values["lora_alpha"]),
        values.get("r"),
        _pattern(values, "alpha_pattern", ALPHA, where),
        _pattern(values, "rank_pattern", RANK, where),
        bool(values.get("use_rslora")),
    )


def _check_supported(values: Mapping[str, Any], where: str) -> None:
    changing = [name for name in CHANGING if values.get(name)]
    if changing:
        raise InputError(f"{where} has {changing[0]}, which is not supported")
    start = values.get("init_lora_weights")
    if isinstance(start, str) and start.startswith(CHANGED_BASE):
        raise InputError(
            f"{where} has init_lora_weights {reprlib.repr(start)}, which changed the base model too"
        )
    kind = values.get("peft_type") or "LORA"
    if kind != "LORA":
        raise InputError(f"{where} has peft_type {reprlib.repr(kind)}, expected LORA")


def _pattern(values: Mapping[str, Any], name: str, kind: Kind, where: str) -> dict[str, Any]:
    """Return the values of layers, by the names of layers or the ends of names."""
    pattern = values.get(name) or {}
    if not isinstance(pattern, dict):
        raise InputError(f"{where} has {name} {reprlib.repr(pattern)}, expected names with numbers")
    check_fields(pattern, dict.fromkeys(pattern, kind), f"{where}: {name}")
    for key in pattern:
        if not PLAIN_PATTERN.fullmatch(key) or re.search(r"\\[^.]", key):
            raise InputError(
                f"{where} has {name} for {reprlib.repr(key)}, expected names of layers"
            )
    return {key.replace("\\.", ".").removesuffix("$"): value for key, value in pattern.items()}


def _find(patterns: Mapping[str, Any], layer: str, default: Any) -> Any:
    """Return the value of the first pattern that names the layer or its end, as PEFT does."""
    for pattern, value in patterns.items():
        name = pattern.removeprefix("^")
        if layer == name or (name == pattern and layer.endswith(f".{name}")):
            return value
    return default


def _of_unet(values: Any) -> Any:
    """Return the settings of the U-Net among those of several models, as diffusers stores them."""
    if not isinstance(values, dict) or "lora_alpha" in values:
        return values
    for prefix in ("unet.", "transformer.", "diffusion_model."):
        own = {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}
        if own:
            return own
    return values


def _number(metadata: Mapping[str, str], keys: tuple[str, ...], kind: Kind) -> float | None:
    """Return the first of several numbers that a header has as text; None if it has none."""
    for key in keys:
        if key not in metadata:
            continue
        text = metadata[key]
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        whole = int(value) if value.is_integer() else value
        if not kind.accepts(value if isinstance(kind, Number) else whole):
            raise InputError(f"{key} is {reprlib.repr(text)}, expected {kind.expected}")
        return value
    return None
