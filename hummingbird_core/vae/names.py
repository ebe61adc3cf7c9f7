"""Key names of the KL-f8 VAE: latent diffusion's and those of diffusers, in one invertible table.

Besides the names, two things differ: latent diffusion counts the decoder's levels from the finest
and diffusers from the coarsest, and its attention projects with 1x1 convolutions where diffusers
has linear layers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

# Fragments of key names: latent diffusion, diffusers. The middle comes first, because latent
# diffusion numbers its two residual blocks by name and those of the levels by index.
KEY_FRAGMENTS = (
    (".mid.block_1.", ".mid_block.resnets.0."),
    (".mid.block_2.", ".mid_block.resnets.1."),
    (".mid.attn_1.norm.", ".mid_block.attentions.0.group_norm."),
    (".mid.attn_1.q.", ".mid_block.attentions.0.to_q."),
    (".mid.attn_1.k.", ".mid_block.attentions.0.to_k."),
    (".mid.attn_1.v.", ".mid_block.attentions.0.to_v."),
    (".mid.attn_1.proj_out.", ".mid_block.attentions.0.to_out.0."),
    (".down.", ".down_blocks."),
    (".up.", ".up_blocks."),
    (".block.", ".resnets."),
    (".downsample.", ".downsamplers.0."),
    (".upsample.", ".upsamplers.0."),
    (".nin_shortcut.", ".conv_shortcut."),
    (".norm_out.", ".conv_norm_out."),
)
_ATTENTION_WEIGHT = re.compile(r"\.attentions\.0\.to_(q|k|v|out\.0)\.weight$")
_DECODER_LEVEL = re.compile(r"(?<=^decoder\.up\.)[0-9]{1,6}|(?<=^decoder\.up_blocks\.)[0-9]{1,6}")


def ldm_to_diffusers(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights under diffusers' names; 1x1 convolutions of the attention become linear."""
    levels = count_indices(state_dict, r"decoder\.up\.([0-9]{1,6})\.")
    converted = {}
    for key, value in state_dict.items():
        name = _flip_decoder_level(key, levels)
        for ldm, diffusers in KEY_FRAGMENTS:
            name = name.replace(ldm, diffusers)
        # [out, in, 1, 1] -> [out, in]
        converted[name] = value.flatten(1) if _ATTENTION_WEIGHT.search(name) else value
    return converted


def diffusers_to_ldm(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights under latent diffusion's names: the inverse of `ldm_to_diffusers`."""
    levels = count_indices(state_dict, r"decoder\.up_blocks\.([0-9]{1,6})\.")
    converted = {}
    for key, value in state_dict.items():
        name = _flip_decoder_level(key, levels)
        for ldm, diffusers in KEY_FRAGMENTS:
            name = name.replace(diffusers, ldm)
        # [out, in] -> [out, in, 1, 1]
        converted[name] = value[:, :, None, None] if _ATTENTION_WEIGHT.search(key) else value
    return converted


def count_indices(keys: Iterable[str], pattern: str) -> int:
    """Return one more than the largest number that `pattern` captures at the start of a key."""
    matches = (re.match(pattern, key) for key in keys)
    return max((int(match[1]) + 1 for match in matches if match), default=0)


def _flip_decoder_level(key: str, levels: int) -> str:
    """Return the key with level i of the decoder renumbered to levels - 1 - i."""
    return _DECODER_LEVEL.sub(lambda match: str(levels - 1 - int(match.group())), key)
