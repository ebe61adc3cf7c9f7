"""The text encoder as ComfyUI's CLIP, with its text tower and prompt syntax.

Both the full-size tower (OpenCLIP ViT-H/14 without its last block) and the tiny one of the built-in
model are ComfyUI's CLIP text model with other sizes; only the tokenizers are ours.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any

import comfy.clip_model
import comfy.sd
import comfy.sd1_clip
import comfy.supported_models_base
import folder_paths
import torch
from torch import Tensor

from ....hummingbird_core.errors import InputError, printable
from ....hummingbird_core.text.encoder import TextConfig
from ....hummingbird_core.text.names import openclip_to_transformers
from ....hummingbird_core.text.tokenizer import (
    PADDING_ID,
    ClipTokenizer,
    TokenizedPrompt,
    Tokenizer,
    WordTokenizer,
)
from ....hummingbird_core.weights.state_dict import count_parameters
from ..errors import absent
from .guard import merged_weights
from .saving import CLIP_NAME, CLIP_PREFIX, clip_texts

UNUSED = ("visual.", "attn_mask", "logit_scale", "text_projection")


class TextTower(comfy.clip_model.CLIPTextModel):
    """ComfyUI's CLIP text model with a vocabulary of any size."""

    def __init__(
        self,
        config_dict: dict[str, Any],
        dtype: torch.dtype,
        device: torch.device,
        operations: Any,
    ):
        super().__init__(config_dict, dtype, device, operations)
        size = config_dict["vocab_size"], config_dict["hidden_size"]
        self.set_input_embeddings(operations.Embedding(*size, dtype=dtype, device=device))


class HubTokenizer:
    """Adapter from our tokenizers to the few calls that ComfyUI makes on transformers' ones."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer

    def from_pretrained(self, path: str, **_: Any) -> HubTokenizer:
        """Return self: ComfyUI treats this object as a class to be loaded from a folder."""
        return self

    def __call__(self, text: str) -> dict[str, list[int]]:
        """Tokenize text, with start and end tokens and without padding."""
        tokens = self.tokenizer.split(self.tokenizer.clean(text))
        ids = (token.id for token in tokens)
        return {"input_ids": [self.tokenizer.start_id, *ids, self.tokenizer.end_id]}

    def get_vocab(self) -> dict[str, int]:
        """Return no words: ComfyUI uses this for embeddings only."""
        return {}


class PromptTokenizer(comfy.sd1_clip.SD1Tokenizer):
    """Tokenizer of prompts in ComfyUI's syntax, such as `(word:1.2)`.

    Attributes:
        core: our tokenizer, which gives the ids.
        heads: attention heads of the text encoder, for files that ComfyUI saves.
    """

    def __init__(
        self,
        core: Tokenizer,
        config: TextConfig,
        embedding_directory: Any = None,
        tokenizer_data: dict[str, Any] | None = None,
    ):
        parser = partial(
            comfy.sd1_clip.SDTokenizer,
            max_length=core.context_length,
            pad_with_end=False,
            embedding_size=config.width,
            embedding_key=f"clip_{CLIP_NAME}",
            tokenizer_class=HubTokenizer(core),
        )
        super().__init__(embedding_directory, tokenizer_data or {}, CLIP_NAME, parser)
        self.core = core
        self.heads = config.heads

    def state_dict(self) -> dict[str, Tensor]:
        """Return what files that ComfyUI saves need besides the weights."""
        words = self.core.to_json() if isinstance(self.core, WordTokenizer) else None
        return clip_texts(self.heads, words)


def build_clip(
    weights: Mapping[str, Tensor],
    *,
    heads: int | None = None,
    skip_last: int = 1,
    tokenizer: str | None = None,
    dtype: torch.dtype | None = None,
) -> comfy.sd.CLIP:
    """Build a CLIP.

    Args:
        weights: OpenCLIP's text tower, without prefix.
        heads: attention heads; None: one per 64 channels.
        skip_last: number of blocks at the end that are left out.
        tokenizer: JSON text of a word tokenizer; None: CLIP's tokenizer.
        dtype: of the weights; None: ComfyUI chooses it for this device.

    Raises:
        CheckpointError: the weights are of another network.
    """
    used = {key: value for key, value in weights.items() if not key.startswith(UNUSED)}
    config = TextConfig.from_state_dict(used, heads=heads, skip_last=skip_last)
    core = ClipTokenizer() if tokenizer is None else WordTokenizer.from_json(tokenizer)
    target = comfy.supported_models_base.ClipTarget(
        partial(PromptTokenizer, core, config), _tower_class(config, core)
    )
    options = {} if dtype is None else {"dtype": dtype}
    state_dict = _comfy_names(used, config)
    arguments = {
        "embedding_directory": folder_paths.get_folder_paths("embeddings"),
        "parameters": count_parameters(state_dict.values()),
        "model_options": options,
    }
    if "state_dict" in inspect.signature(comfy.sd.CLIP).parameters:
        return comfy.sd.CLIP(target, state_dict=state_dict, **arguments)
    clip = comfy.sd.CLIP(target, **arguments)
    clip.load_sd(state_dict, full_model=True)
    return clip


def _tower_class(config: TextConfig, tokenizer: Tokenizer) -> partial:
    """Return the factory of the text model, which ComfyUI calls with a dtype and a device."""
    special = {"start": tokenizer.start_id, "end": tokenizer.end_id, "pad": PADDING_ID}
    sizes = {
        "vocab_size": config.vocab_size,
        "hidden_size": config.width,
        "intermediate_size": config.mlp_width,
        "num_hidden_layers": config.layers_used,
        "num_attention_heads": config.heads,
        "max_position_embeddings": config.context_length,
        "hidden_act": "gelu",
        "eos_token_id": tokenizer.end_id,
    }
    tower = partial(
        comfy.sd1_clip.SDClipModel,
        layer="last",
        textmodel_json_config=sizes,
        special_tokens=special,
        model_class=TextTower,
    )
    return partial(comfy.sd1_clip.SD1ClipModel, clip_name=CLIP_NAME, clip_model=tower)


def _comfy_names(weights: Mapping[str, Tensor], config: TextConfig) -> dict[str, Tensor]:
    """Rename OpenCLIP's keys to ComfyUI's, which are transformers' with a prefix."""
    transformer = f"{CLIP_PREFIX}transformer."
    named = openclip_to_transformers(weights)
    skipped = tuple(f"encoder.layers.{i}." for i in range(config.layers_used, config.layers))
    kept = {key: value for key, value in named.items() if not key.startswith(skipped)}
    state_dict = {f"{transformer}text_model.{key}": value for key, value in kept.items()}
    # Unused pooled output: without weights it would be random.
    state_dict[f"{transformer}text_projection.weight"] = torch.eye(config.width)
    return state_dict


def tokenizer_of(clip: comfy.sd.CLIP | None) -> Tokenizer:
    """Return the tokenizer of one of our CLIPs.

    Raises:
        InputError: the CLIP is not one of ours, or the checkpoint held none.
    """
    if clip is None:
        raise absent("clip")
    core = getattr(getattr(clip, "tokenizer", None), "core", None)
    if not isinstance(core, Tokenizer):
        raise InputError(
            "input clip: got a text encoder of another model, expected Hummingbird's: connect the "
            "CLIP of Load Hummingbird"
        )
    return core


def tokenize(clip: comfy.sd.CLIP, prompt: str) -> TokenizedPrompt:
    """Tokenize as `hummingbird generate` does: literally, and cut at the context length."""
    return tokenizer_of(clip).tokenize(prompt)


def encode(clip: comfy.sd.CLIP, tokenized: TokenizedPrompt) -> list:
    """Encode a tokenized prompt to CONDITIONING.

    Raises:
        InputError: the CLIP was merged with one of another shape, whose weights ComfyUI drops.
    """
    weights = clip.patcher.model_state_dict()
    for key, patches in clip.patcher.patches.items():
        if any(other.shape != weights[key].shape for other in merged_weights(patches)):
            raise InputError(
                "input clip: got a merge with a text encoder of another shape, expected two of one "
                "shape: merge two versions of the same model"
            )
    return clip.encode_from_tokens_scheduled({CLIP_NAME: [[(i, 1.0) for i in tokenized.ids]]})


def describe(clip: comfy.sd.CLIP, tokenized: TokenizedPrompt) -> str:
    """Return a report: token count, text that was cut off, unknown words."""
    room = tokenizer_of(clip).context_length - 2
    lines = [f"{tokenized.count} of {room} tokens"]
    if tokenized.dropped:
        lines.append(f"cut off, without effect: {tokenized.dropped}")
    if tokenized.unknown:
        lines.append(f"unknown to this model: {', '.join(tokenized.unknown)}")
    if tokenized.hint:
        lines.append(tokenized.hint)
    return "\n".join(map(printable, lines))
