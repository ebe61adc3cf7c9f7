"""The text encoder: OpenCLIP's text tower without its last block, as in Stable Diffusion 2.

The network is transformers' `CLIPTextModel`; checkpoints use OpenCLIP's key names. Attention is
causal and padding is not masked: zeros are encoded like any token, as in training. The result is
the sequence of hidden states; the pooled vector and the projection are not used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..errors import CheckpointError, InputError
from ..weights.state_dict import validate_state_dict
from .names import OPENCLIP_BLOCK, openclip_to_transformers, transformers_to_openclip
from .tokenizer import (
    MAX_TOKENS,
    PADDING_ID,
    ClipTokenizer,
    TokenizedPrompt,
    Tokenizer,
    WordTokenizer,
    warn_of_lost_text,
)

if TYPE_CHECKING:
    from transformers import CLIPTextModel

HEAD_WIDTH = 64
MAX_LAYERS, MAX_SIZE = 256, 10_000_000  # blocks; tokens or channels

_UNUSED = ("visual.", "attn_mask", "logit_scale", "text_projection")


@dataclass(frozen=True)
class TextConfig:
    """Sizes of a text tower; `dataclasses.asdict` of it goes into a checkpoint's metadata."""

    width: int = 1024
    layers: int = 24
    """Blocks in the checkpoint."""
    heads: int = 16
    vocab_size: int = ClipTokenizer.vocab_size
    context_length: int = MAX_TOKENS
    mlp_width: int = 4096
    skip_last: int = 1
    """Blocks at the end that are neither run nor kept in memory."""

    @property
    def layers_used(self) -> int:
        """Blocks that are run."""
        return self.layers - self.skip_last

    @classmethod
    def from_state_dict(
        cls, state_dict: Mapping[str, Tensor], *, heads: int | None = None, skip_last: int = 1
    ) -> TextConfig:
        """Infer the sizes from the shapes of OpenCLIP weights.

        Args:
            state_dict: weights of the text tower, keys without prefix.
            heads: attention heads, which shapes do not show; None: width / 64.
            skip_last: blocks at the end that are not run.

        Raises:
            CheckpointError: the keys are not OpenCLIP's, or no tower has these sizes.
        """
        try:
            vocab_size, width = state_dict["token_embedding.weight"].shape
            context_length = state_dict["positional_embedding"].shape[0]
            mlp_width = state_dict["transformer.resblocks.0.mlp.c_fc.weight"].shape[0]
        except (LookupError, ValueError) as error:
            raise CheckpointError(
                f"got text encoder weights without {error}, expected OpenCLIP's key names: "
                f"use a checkpoint that holds the whole text tower"
            ) from error
        blocks = (OPENCLIP_BLOCK.match(key) for key in state_dict)
        layers = 1 + max(int(block[1]) for block in blocks if block)
        _check_sizes(layers, vocab_size, width, context_length, mlp_width)
        heads = heads or max(width // HEAD_WIDTH, 1)
        return cls(
            width=width,
            layers=layers,
            heads=heads,
            vocab_size=vocab_size,
            context_length=context_length,
            mlp_width=mlp_width,
            skip_last=skip_last,
        )

    def check(self) -> None:
        """Check that a tower of these sizes can exist.

        Raises:
            InputError: it cannot.
        """
        if self.width % self.heads:
            raise InputError(
                f"got {self.heads} attention heads for a width of {self.width}: give a divisor"
            )
        if not 0 <= self.skip_last < self.layers:
            raise InputError(
                f"got {self.skip_last} blocks to skip of {self.layers}, expected 0 to "
                f"{self.layers - 1}"
            )


def _check_sizes(layers: int, *sizes: int) -> None:
    """Refuse a tower that takes long to build, or has a size of zero."""
    if layers > MAX_LAYERS or not all(0 < size <= MAX_SIZE for size in sizes):
        raise CheckpointError(
            f"got text encoder weights of {layers:,} blocks and the sizes "
            f"{', '.join(f'{size:,}' for size in sizes)}, expected at most {MAX_LAYERS} blocks and "
            f"sizes of 1 to {MAX_SIZE:,}: get the checkpoint again"
        )


@dataclass(frozen=True)
class TextEncoding:
    """Encoded prompts, and the text that the model did not see."""

    embeddings: Tensor
    """`[B, context_length, width]`."""
    token_counts: list[int]
    """Tokens of each whole prompt, without start and end."""
    dropped: list[str]
    """Text beyond the context length, which has no influence; empty if everything fits."""
    unknown: list[list[str]]
    """Words outside of the vocabulary."""


class TextEncoder(nn.Module):
    """A tokenizer and a text tower: prompts to hidden states.

    The states are those of the last block used, after the final LayerNorm.
    """

    def __init__(self, config: TextConfig, tokenizer: Tokenizer) -> None:
        super().__init__()
        config.check()
        if tokenizer.vocab_size != config.vocab_size:
            raise InputError(
                f"got a tokenizer of {tokenizer.vocab_size} tokens for a text encoder of "
                f"{config.vocab_size}: give the tokenizer that belongs to the checkpoint"
            )
        self.config = config
        self.tokenizer = tokenizer
        self.model = _build_clip(config, tokenizer)

    def tokenize(self, prompts: str | Sequence[str], *, warn: bool = True) -> list[TokenizedPrompt]:
        """Return the token ids of each prompt; log a warning for text that does not fit.

        Args:
            prompts: one or several.
            warn: False for callers that report such text themselves.
        """
        prompts = [prompts] if isinstance(prompts, str) else prompts
        tokenized = [self.tokenizer.tokenize(prompt) for prompt in prompts]
        for prompt in tokenized if warn else ():
            warn_of_lost_text(prompt, self.tokenizer.context_length)
        return tokenized

    def encode(self, prompts: str | Sequence[str], *, warn: bool = True) -> TextEncoding:
        """Encode one prompt or several, to `[B, context_length, width]`; see `tokenize`."""
        tokenized = self.tokenize(prompts, warn=warn)
        ids = torch.tensor([prompt.ids for prompt in tokenized], device=self.device)
        return TextEncoding(
            embeddings=self.encode_tokens(ids),
            token_counts=[prompt.count for prompt in tokenized],
            dropped=[prompt.dropped for prompt in tokenized],
            unknown=[prompt.unknown for prompt in tokenized],
        )

    def encode_tokens(self, ids: Tensor) -> Tensor:
        """Encode token ids, integer `[B, context_length]`, to `[B, context_length, width]`.

        Raises:
            InputError: the ids have another shape.
        """
        if ids.ndim != 2 or ids.shape[1] != self.config.context_length:
            raise InputError(
                f"got token ids of shape {list(ids.shape)}, expected "
                f"[batch, {self.config.context_length}]"
            )
        return self.model(input_ids=ids.to(self.device, torch.int64)).last_hidden_state

    forward = encode_tokens

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.model.device


def _build_clip(config: TextConfig, tokenizer: Tokenizer) -> CLIPTextModel:
    """Build a tower with random weights that ends at the last block used."""
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.width,
            intermediate_size=config.mlp_width,
            num_hidden_layers=config.layers_used,
            num_attention_heads=config.heads,
            max_position_embeddings=config.context_length,
            hidden_act="gelu",
            pad_token_id=PADDING_ID,
            bos_token_id=tokenizer.start_id,
            eos_token_id=tokenizer.end_id,
        )
    )


def load_text_encoder(
    state_dict: Mapping[str, Tensor],
    *,
    num_heads: int | None = None,
    tokenizer: Tokenizer | str | None = None,
    layers_to_skip: int = 1,
    dtype: torch.dtype | None = None,
) -> TextEncoder:
    """Build the text encoder that fits OpenCLIP weights (key names without a prefix).

    The vision tower and the projection are left out.

    Args:
        state_dict: weights in OpenCLIP's names.
        num_heads: attention heads; None: width / 64.
        tokenizer: the tokenizer, or the JSON text of a `WordTokenizer`; None: CLIP's.
        layers_to_skip: blocks at the end that are left out.
        dtype: of the weights; None keeps the stored dtype.

    Returns:
        The text encoder in eval mode.

    Raises:
        CheckpointError: keys or shapes do not fit.
    """
    weights = {key: value for key, value in state_dict.items() if not key.startswith(_UNUSED)}
    config = TextConfig.from_state_dict(weights, heads=num_heads, skip_last=layers_to_skip)
    if tokenizer is None:
        tokenizer = ClipTokenizer()
    elif isinstance(tokenizer, str):
        tokenizer = WordTokenizer.from_json(tokenizer)
    with torch.device("meta"):
        encoder = TextEncoder(config, tokenizer)
    weights = {key: value for key, value in weights.items() if not _is_skipped(key, config)}
    validate_state_dict("text encoder", text_encoder_to_openclip(encoder), weights)
    _assign(encoder, {key: value.to(dtype) for key, value in weights.items()})
    return encoder.eval()


def _is_skipped(key: str, config: TextConfig) -> bool:
    block = OPENCLIP_BLOCK.match(key)
    return block is not None and int(block[1]) >= config.layers_used


def _assign(encoder: TextEncoder, weights: Mapping[str, Tensor]) -> None:
    """Replace the tower's meta tensors with OpenCLIP weights."""
    model = encoder.model
    prefix = _transformers_prefix(model)
    converted = {prefix + key: value for key, value in openclip_to_transformers(weights).items()}
    model.load_state_dict(converted, assign=True)
    # The only buffer is not in the state dict: its meta tensor is still there.
    embeddings = model.get_submodule(f"{prefix}embeddings")
    positions = torch.arange(encoder.config.context_length, device=model.device)
    embeddings.position_ids = positions[None]


def text_encoder_to_openclip(encoder: TextEncoder) -> dict[str, Tensor]:
    """Return the weights of `encoder` in OpenCLIP's names, as `load_text_encoder` reads them.

    Blocks that were skipped on loading are gone: load the result with `layers_to_skip=0`.
    """
    prefix = _transformers_prefix(encoder.model)
    weights = encoder.model.state_dict()
    return transformers_to_openclip(
        {key.removeprefix(prefix): value for key, value in weights.items()}
    )


def _transformers_prefix(model: CLIPTextModel) -> str:
    """Return the prefix of keys: "text_model." in transformers 4, none in transformers 5."""
    return "text_model." if any(name == "text_model" for name, _ in model.named_children()) else ""
