"""Writes a model of the nano family as one file, in the layout of the released checkpoints."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, cast

from safetensors.torch import save

from ...checkpoints.layout import CONFIG_KEY, TEXT_PREFIX, UNET_PREFIX, VAE_PREFIX
from ...checkpoints.load import LICENCE_KEY, PRESET_KEY, TOKENIZER_KEY
from ...files import check_destination, complete_or_absent
from ...nano.latents import SCALING_FACTOR, preview_colours
from ...text.encoder import TextEncoder, text_encoder_to_openclip
from ...unet.model import HummingbirdUNet
from ...vae.codec import diffusers_to_ldm

if TYPE_CHECKING:
    from diffusers.models import AutoencoderKL

    from ...text.tokenizer import WordTokenizer


def save_model(
    path: Path, unet: HummingbirdUNet, vae: AutoencoderKL, text_encoder: TextEncoder
) -> None:
    """Writes one fp16 safetensors in the layout of the released checkpoints."""
    tokenizer = cast("WordTokenizer", text_encoder.tokenizer)
    parts = {
        UNET_PREFIX: unet.state_dict(),
        VAE_PREFIX: diffusers_to_ldm(vae.state_dict()),
        TEXT_PREFIX: text_encoder_to_openclip(text_encoder),
    }
    config = {
        "unet": unet.config.to_dict(),
        "vae": {"scaling_factor": SCALING_FACTOR, "preview_colours": preview_colours()},
        "text": asdict(text_encoder.config),
    }
    metadata = {
        PRESET_KEY: unet.config.preset or "custom",
        CONFIG_KEY: json.dumps(config),
        TOKENIZER_KEY: tokenizer.to_json(),
        LICENCE_KEY: "Apache-2.0",
    }
    tensors = {
        prefix + key: value.half().cpu().contiguous()
        for prefix, weights in parts.items()
        for key, value in weights.items()
    }
    check_destination(path, overwrite=True)
    with complete_or_absent(path) as file:
        file.write(save(tensors, metadata=metadata))
