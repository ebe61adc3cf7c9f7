"""Configs of a checkpoint's models: from metadata or from the attributes of a pickled model.

The fields come from a file, so their kinds and ranges are checked before anything is built.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import CheckpointError, InputError
from ..inputs.fields import Flag, Kind, ListOf, Number, Whole, check_fields
from ..inputs.json_text import parse_json
from ..unet.config import UNetConfig
from ..weights.tensor_files import TensorFile

CONFIG_KEY = "hummingbird.config"  # metadata of converted files
PREVIEW_KEY = "preview_colours"  # in the config of a VAE whose latents are images
TEXT_PREFIX = "cond_stage_model.model."
VAE_PREFIX = "first_stage_model."

_SIZE = Whole(1, 65536)
TEXT_FIELDS: dict[str, Kind] = {
    "heads": Whole(1, 1024),
    "skip_last": Whole(0, 256),
    # Written by some versions; the shapes of the tensors give these.
    "width": _SIZE,
    "layers": Whole(1, 256),
    "vocab_size": Whole(1, 10_000_000),
    "context_length": _SIZE,
    "mlp_width": _SIZE,
}
VAE_FIELDS: dict[str, Kind] = {
    "scaling_factor": Number(1e-6, 1e6),
    "norm_num_groups": Whole(1, 8192),
    "latents_are_images": Flag(),
    PREVIEW_KEY: ListOf(ListOf(Number(-1e3, 1e3), 3, 3), 2, 8193),
}


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


def stored_configs(file: TensorFile) -> ComponentConfigs:
    """Read the configs in the metadata of a converted file.

    Raises:
        CheckpointError: a field is missing, unknown, of a wrong kind or out of range.
    """
    try:
        values = parse_json(file.metadata[CONFIG_KEY], "it")
        if not isinstance(values, dict) or "unet" not in values:
            raise InputError("it has no field unet")
        if unknown := values.keys() - {"unet", "text", "vae"}:
            raise InputError(f"it has the unknown field {min(unknown)[:40]!r}")
        unet = UNetConfig.from_dict(values["unet"], "unet")
        text = check_fields(values.get("text", {}), TEXT_FIELDS, "text")
        vae = check_fields(values.get("vae", {}), VAE_FIELDS, "vae")
    except InputError as error:
        raise CheckpointError(
            f"{file.path.name} has damaged metadata {CONFIG_KEY} ({error}): convert it again"
        ) from error
    if PREVIEW_KEY in vae:  # older files with such latents do not say so
        vae.setdefault("latents_are_images", True)
    return ComponentConfigs(unet, text, vae)


def configs_from_attributes(file: TensorFile) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the text encoder's and the VAE's settings from the attributes of a pickled model.

    Raises:
        CheckpointError: an attribute is of a wrong kind or out of range.
    """
    attributes = file.hyperparameters
    text = {
        "heads": attributes.get(TEXT_PREFIX + "transformer.resblocks.0.attn.num_heads"),
        "skip_last": attributes.get("cond_stage_model.layer_idx"),
    }
    vae = {
        "scaling_factor": attributes.get("scale_factor"),
        "norm_num_groups": attributes.get(VAE_PREFIX + "encoder.norm_out.num_groups"),
    }
    try:
        return (
            check_fields(_known(text), TEXT_FIELDS, "the text encoder"),
            check_fields(_known(vae), VAE_FIELDS, "the VAE"),
        )
    except InputError as error:
        raise CheckpointError(f"{file.path.name} is damaged: {error}, get it again") from error


def _known(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}
