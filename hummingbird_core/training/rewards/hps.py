"""Conversion of the released HPSv2 file, OpenCLIP's ViT-H/14, to transformers' CLIP.

OpenCLIP's attention keeps query, key and value in one matrix, and its projections multiply from the
right; otherwise the two differ in names only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...errors import CheckpointError, one_line
from ...text.names import CLIP_NAMES, openclip_to_transformers
from ...weights.state_dict import validate_state_dict

if TYPE_CHECKING:
    from transformers import CLIPConfig, CLIPModel

# The weights do not show the number of heads. From ViT-B/32 to ViT-H/14 heads have 64 channels, but
# there are at most 16: the vision tower of ViT-H/14 has 16 of 80 channels.
CLIP_HEAD_WIDTH = 64
MAX_HEADS = 16
MAX_LAYERS = 256

_TRANSPOSED = ("visual_projection.weight", "text_projection.weight")


def clip_from_open_clip(weights: Mapping[str, Tensor]) -> CLIPModel:
    """Build the CLIP model for OpenCLIP's weights, in eval mode.

    Raises:
        CheckpointError: names or shapes are not those of a CLIP with a vision transformer.
    """
    from transformers import CLIPModel

    try:
        config = _config(weights)
        renamed = _to_transformers(weights)
        with torch.device("meta"):  # for its names and shapes only
            expected = CLIPModel(config).state_dict()
    except (LookupError, ValueError, TypeError, ArithmeticError, RuntimeError) as error:
        raise CheckpointError(
            f"got CLIP weights without a fitting {one_line(error)}, expected OpenCLIP's names and "
            "shapes: use the released HPS_v2.1_compressed.pt"
        ) from error
    validate_state_dict("CLIP", expected, renamed)
    return CLIPModel.from_pretrained(None, config=config, state_dict=renamed).eval()


def _config(weights: Mapping[str, Tensor]) -> CLIPConfig:
    from transformers import CLIPConfig

    _, _, patch, _ = weights["visual.conv1.weight"].shape
    positions, _ = weights["visual.positional_embedding"].shape
    vocabulary, _ = weights["token_embedding.weight"].shape
    context, _ = weights["positional_embedding"].shape
    _, projection = weights["text_projection"].shape
    vision = {
        **_tower(weights, "visual."),
        "patch_size": patch,
        "image_size": patch * round((positions - 1) ** 0.5),
    }
    text = {
        **_tower(weights, ""),
        "vocab_size": vocabulary,
        "max_position_embeddings": context,
    }
    return CLIPConfig(vision_config=vision, text_config=text, projection_dim=projection)


def _tower(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Any]:
    mlp_width, width = weights[f"{prefix}transformer.resblocks.0.mlp.c_fc.weight"].shape
    pattern = re.compile(rf"{re.escape(prefix)}transformer\.resblocks\.(\d+)\.")
    layers = {match[1] for match in map(pattern.match, weights) if match}
    if len(layers) > MAX_LAYERS:
        raise ValueError(f"number of blocks ({len(layers):,})")
    return {
        "hidden_size": width,
        "intermediate_size": mlp_width,
        "num_hidden_layers": len(layers),
        "num_attention_heads": min(width // CLIP_HEAD_WIDTH, MAX_HEADS),
        "hidden_act": "gelu",
    }


def _to_transformers(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    converted = openclip_to_transformers(weights, CLIP_NAMES)
    for name in _TRANSPOSED:
        # [in, out] -> [out, in]; contiguous, because a file keeps the memory's layout.
        converted[name] = converted[name].T.contiguous()
    return converted
