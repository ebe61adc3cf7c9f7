"""State dicts for ComfyUI's save nodes: checkpoints in the original layout.

The save nodes write tensors only. So what a converted file has as metadata (the configs, the words
of a small tokenizer) becomes tensors of text, which `open_tensors` reads as metadata.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from ....hummingbird_core.checkpoints import LICENSE_KEY, TOKENIZER_KEY
from ....hummingbird_core.checkpoints.layout import CONFIG_KEY, TEXT_PREFIX, ComponentConfigs
from ....hummingbird_core.errors import InputError
from ....hummingbird_core.text.names import transformers_to_openclip
from ....hummingbird_core.weights.tensor_files import text_tensor

CLIP_NAME = "h"  # as ComfyUI calls ViT-H: the key of its tokens, and the prefix of its weights
CLIP_PREFIX = f"clip_{CLIP_NAME}."
TOWER_PREFIX = f"{CLIP_PREFIX}transformer.text_model."
TEXT_CONFIG_KEY = "text_config"  # of what only the CLIP knows about itself
# In ComfyUI's CLIP, but not in the original layout: neither has an effect on the prompt.
UNSAVED = (f"{CLIP_PREFIX}logit_scale", f"{CLIP_PREFIX}transformer.text_projection.weight")


def kept_metadata(configs: ComponentConfigs, metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the metadata of a loaded file that a file saved from its MODEL keeps."""
    licence = {key: value for key, value in metadata.items() if key == LICENSE_KEY}
    return {CONFIG_KEY: configs.to_json(), **licence}


def clip_texts(heads: int, tokenizer: str | None) -> dict[str, Tensor]:
    """Return what a CLIP's weights don't show, as tensors among them.

    Args:
        heads: attention heads.
        tokenizer: JSON of a tokenizer that is not CLIP's.
    """
    # ComfyUI keeps only the blocks that are run: none is left to skip.
    texts = {TEXT_CONFIG_KEY: json.dumps({"heads": heads, "skip_last": 0})}
    if tokenizer is not None:
        texts[TOKENIZER_KEY] = tokenizer
    return {f"{CLIP_PREFIX}{key}": text_tensor(text) for key, text in texts.items()}


def text_weights(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of one of our CLIPs by their names in a checkpoint.

    Raises:
        InputError: the CLIP is of another model.
    """
    texts = {f"{CLIP_PREFIX}{key}" for key in (TEXT_CONFIG_KEY, TOKENIZER_KEY)}
    if texts.isdisjoint(state_dict):
        raise InputError(
            "input clip: got a text encoder of another model, expected Hummingbird's: connect the "
            "CLIP of Load Hummingbird"
        )
    # .to: ComfyUI merges patches into a weight when it moves to the CPU.
    tower = {
        key.removeprefix(TOWER_PREFIX): value.to("cpu")
        for key, value in state_dict.items()
        if key not in texts and key not in UNSAVED
    }
    return {TEXT_PREFIX + key: value for key, value in transformers_to_openclip(tower).items()}


def clip_of(parts: Iterable[Mapping[str, Tensor]]) -> Mapping[str, Tensor] | None:
    """Return the state dict of one of our CLIPs among several, None if there is none."""
    return next((part for part in parts if f"{CLIP_PREFIX}{TEXT_CONFIG_KEY}" in part), None)


def metadata_tensors(
    metadata: Mapping[str, str],
    clip_state_dict: Mapping[str, Tensor] | None,
) -> dict[str, Tensor]:
    """Return a checkpoint's metadata as tensors.

    Args:
        metadata: of the file that the MODEL is from, see `kept_metadata`.
        clip_state_dict: of the CLIP that is saved with it, if any; its texts replace those.
    """
    texts = dict(metadata)
    if clip_state_dict is not None:
        config: dict[str, Any] = json.loads(texts[CONFIG_KEY])
        config["text"] = json.loads(_text(clip_state_dict[f"{CLIP_PREFIX}{TEXT_CONFIG_KEY}"]))
        texts[CONFIG_KEY] = json.dumps(config)
        tokenizer = clip_state_dict.get(f"{CLIP_PREFIX}{TOKENIZER_KEY}")
        if tokenizer is not None:
            texts[TOKENIZER_KEY] = _text(tokenizer)
    return {key: text_tensor(text) for key, text in texts.items()}


def _text(tensor: Tensor) -> str:
    return bytes(tensor.tolist()).decode()
