"""Key names of CLIP models: OpenCLIP's and those of transformers, in one invertible table.

OpenCLIP keeps the query, key and value projections of a block in one matrix, transformers in three;
otherwise both differ in names only. In the table, `*` is a part of a name that both share, in the
same order, and `[qkv]` marks the joint matrix.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

Names = tuple[tuple[str, str], ...]

QKV = "[qkv]"
OPENCLIP_BLOCK = re.compile(r"transformer\.resblocks\.([0-9]{1,6})\.")

# One transformer block: OpenCLIP, transformers.
BLOCK_NAMES: Names = (
    ("ln_1.*", "layer_norm1.*"),
    ("ln_2.*", "layer_norm2.*"),
    ("attn.in_proj_*", f"self_attn.{QKV}_proj.*"),
    ("attn.out_proj.*", "self_attn.out_proj.*"),
    ("mlp.c_fc.*", "mlp.fc1.*"),
    ("mlp.c_proj.*", "mlp.fc2.*"),
)


def _prefixed(openclip: str, transformers: str, names: Names) -> Names:
    return tuple((openclip + left, transformers + right) for left, right in names)


# The text tower: OpenCLIP's, and transformers' `CLIPTextModel` without its prefix.
TEXT_NAMES: Names = (
    ("token_embedding.weight", "embeddings.token_embedding.weight"),
    ("positional_embedding", "embeddings.position_embedding.weight"),
    *_prefixed("transformer.resblocks.*.", "encoder.layers.*.", BLOCK_NAMES),
    ("ln_final.*", "final_layer_norm.*"),
)
VISION_NAMES: Names = (
    ("class_embedding", "embeddings.class_embedding"),
    ("conv1.weight", "embeddings.patch_embedding.weight"),
    ("positional_embedding", "embeddings.position_embedding.weight"),
    ("ln_pre.*", "pre_layrnorm.*"),  # transformers' spelling
    *_prefixed("transformer.resblocks.*.", "encoder.layers.*.", BLOCK_NAMES),
    ("ln_post.*", "post_layernorm.*"),
)
# Both towers, and the projections to their common space: transformers' `CLIPModel`.
CLIP_NAMES: Names = (
    *_prefixed("", "text_model.", TEXT_NAMES),
    *_prefixed("visual.", "vision_model.", VISION_NAMES),
    ("text_projection", "text_projection.weight"),
    ("visual.proj", "visual_projection.weight"),
)


def openclip_to_transformers(
    state_dict: Mapping[str, Tensor], names: Names = TEXT_NAMES
) -> dict[str, Tensor]:
    """Return weights under transformers' names, with q, k and v apart.

    Args:
        state_dict: weights in OpenCLIP's names; a key outside of the table keeps its name.
        names: the table, `TEXT_NAMES` or `CLIP_NAMES`.

    Raises:
        ValueError: a joint matrix does not hold three parts.
    """
    rules = _compiled(names)
    converted: dict[str, Tensor] = {}
    for key, value in state_dict.items():
        name = _renamed(key, rules)
        if QKV not in name:
            converted[name] = value
            continue
        # [3 * width, ...] -> three times [width, ...]
        for letter, part in zip("qkv", value.chunk(3), strict=True):
            converted[name.replace(QKV, letter)] = part
    return converted


def transformers_to_openclip(
    state_dict: Mapping[str, Tensor], names: Names = TEXT_NAMES
) -> dict[str, Tensor]:
    """Return weights under OpenCLIP's names: the inverse of `openclip_to_transformers`."""
    rules = _compiled((right, left) for left, right in names)
    converted: dict[str, Tensor] = {}
    for key, value in state_dict.items():
        joint = re.sub(r"\b[qkv]_proj\.", f"{QKV}_proj.", key)
        name = _renamed(joint, rules)
        if joint == key:
            converted[name] = value
        elif "q_proj." in key:
            # three times [width, ...] -> [3 * width, ...]
            parts = [state_dict[joint.replace(QKV, letter)] for letter in "qkv"]
            converted[name] = torch.cat(parts)
    return converted


def _compiled(names: Iterable[tuple[str, str]]) -> list[tuple[re.Pattern[str], str]]:
    """Return a pattern and a format string for each rule, from left to right."""
    return [
        (re.compile(re.escape(left).replace(r"\*", r"([^.]+)")), right.replace("*", "{}"))
        for left, right in names
    ]


def _renamed(key: str, rules: list[tuple[re.Pattern[str], str]]) -> str:
    for pattern, name in rules:
        if match := pattern.fullmatch(key):
            return name.format(*match.groups())
    return key
