"""ComfyUI's patches of attention and blocks, called where its own U-Net calls them.

Nodes such as FreeU, HyperTile or Perturbed-Attention Guidance put functions into
`transformer_options`. They expect tokens `[N, S, C]` of N images; ours are the frames of B videos,
N = B*T. Temporal transformers have no patches: these functions take tokens for pixels of an image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.ldm.modules.attention as comfy_attention
import comfy.model_management
import torch
from comfy.cli_args import args
from torch import Tensor, nn

from ....hummingbird_core.errors import InputError
from ....hummingbird_core.unet import HummingbirdUNet
from ....hummingbird_core.unet.hooks import UNetHooks
from ....hummingbird_core.unet.layers import SpatialTransformer
from ....hummingbird_core.unet.text import Text

Options = dict[str, Any]  # transformer_options

ATTENTION_PATCHES = frozenset(
    {"attn1_patch", "attn1_output_patch", "middle_patch", "attn2_patch", "attn2_output_patch"}
)
EFFECTS_KEY = "hummingbird_effects"  # of the `PatchEffects` of a run, in its options
BLOCK_PATCHES = frozenset(
    {
        "emb_patch",
        "input_block_patch",
        "input_block_patch_after_skip",
        "middle_block_after_patch",
        "output_block_patch",
    }
)
REPLACEMENTS = frozenset({"attn1", "attn2"})


class PatchEffects:
    """Nodes whose patches of attention were called in a run, and those that changed a tensor."""

    def __init__(self) -> None:
        self._called: set[str] = set()
        self._changing: set[str] = set()

    def note(self, patch: Callable[..., Any], changed: bool) -> None:
        """Note a call."""
        name = node_name(patch)
        self._called.add(name)
        if changed:
            self._changing.add(name)

    @property
    def without_effect(self) -> list[str]:
        """Nodes whose patches returned what they got, in all calls."""
        return sorted(self._called - self._changing)


class PatchHooks(UNetHooks):
    """The patches of one call of the U-Net.

    Args:
        options: `transformer_options` of this call; "block" and other keys are updated in it.
        call: arguments of the U-Net that the patch behind the middle block gets: "x", "context",
            "y" and "timesteps".
    """

    def __init__(self, options: Options, call: dict[str, Any]):
        batch, channels, frames, height, width = call["x"].shape
        options["original_shape"] = [batch * frames, channels, height, width]
        options["transformer_index"] = 0
        self.options = options
        self.call = call
        self.patches: dict[str, list[Callable[..., Any]]] = options.get("patches", {})
        self.replacements: dict[str, dict] = options.get("patches_replace", {})
        self.changes_attention = bool(ATTENTION_PATCHES & self.patches.keys()) or any(
            self.replacements.values()
        )

    def enter(self, part: str, index: int) -> None:
        """Check for an interrupt and name the next block."""
        # ComfyUI checks between steps only, and a step may take a minute on a CPU. A compiled graph
        # cannot be interrupted: the check would only cut it into pieces.
        if not torch.compiler.is_compiling():
            comfy.model_management.throw_exception_if_processing_interrupted()
        self.options["block"] = (part, index)

    def embedding(self, embedding: Tensor) -> Tensor:
        """Patch the embedding `[B, E]`."""
        for patch in self.patches.get("emb_patch", ()):
            embedding = patch(embedding, embedding.shape[-1] // 4, self.options)
        self.call["emb"] = embedding
        return embedding

    def after_block(self, x: Tensor) -> Tensor:
        """Patch the features of an input block or behind the middle."""
        part = self.options["block"][0]
        if part == "middle":
            for patch in self.patches.get("middle_block_after_patch", ()):
                x = patch({**self.call, "h": x, "transformer_options": self.options})["h"]
            return x
        return self._features("input_block_patch", x)

    def after_skip(self, x: Tensor) -> Tensor:
        """Patch the features of an input block behind its skip connection."""
        return self._features("input_block_patch_after_skip", x)

    def join(self, x: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        """Patch the features and the skip connection of an output block."""
        patches = self.patches.get("output_block_patch", ())
        if patches and self.options["block"][1] == 0:
            x = x.clone()  # without a middle block it is the skip, and FreeU writes into it
        for patch in patches:
            x, skip = patch(x, skip, self.options)
        return x, skip

    def transform(self, block: nn.Module, x: Tensor, text: Text | None, height: int) -> Tensor:
        """Apply a transformer block, a spatial one (with a text) with its patches."""
        if text is None:
            return block(x, None, self.attend)
        batch, frames, pixels, channels = x.shape
        shape = [batch * frames, channels, height, pixels // height]
        self.options.update(activations_shape=shape, block_index=0)
        x = self._patched(block, x, text) if self.changes_attention else block(x, text, self.attend)
        self.options["transformer_index"] += 1
        return x

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend with ComfyUI's function, which its options and other packs choose.

        On a CPU without such an option, the core's own function is as exact and faster.
        """
        if not self._is_chosen(q.device):
            return super().attend(q, k, v)
        heads = q.shape[1]
        # [batch, heads, sequence, d] -> [batch, sequence, heads*d], whatever the function
        out = comfy_attention.optimized_attention(
            q, k, v, heads, skip_reshape=True, transformer_options=self.options
        )
        return out.unflatten(-1, (heads, -1)).transpose(1, 2)

    def _is_chosen(self, device: torch.device) -> bool:
        """Return whether ComfyUI's attention is to be used: other than the default of a CPU."""
        is_default = (
            comfy_attention.optimized_attention is comfy_attention.attention_sub_quad
            and not args.use_quad_cross_attention
        )
        return (
            device.type != "cpu" or not is_default or "optimized_attention_override" in self.options
        )

    def _features(self, name: str, x: Tensor) -> Tensor:
        for patch in self.patches.get(name, ()):
            x = patch(x, self.options)
        return x

    def _patched(self, block: Any, x: Tensor, text: Text) -> Tensor:
        """Apply a spatial transformer block in the steps of ComfyUI's `BasicTransformerBlock`."""
        batch, frames = x.shape[:2]
        x = x.flatten(0, 1)  # [B, T, S, C] -> [B*T, S, C]
        # [B, 1 or T, L, C'] -> [B*T, L, C']
        context = text.per_frame(text.tokens).expand(-1, frames, -1, -1).flatten(0, 1)
        extra = {k: v for k, v in self.options.items() if k not in ("patches", "patches_replace")}
        head_channels = block.attn1.head_channels
        extra["n_heads"] = x.shape[-1] // head_channels
        extra["dim_head"], extra["attn_precision"] = head_channels, None
        x = self._attention("attn1", block.attn1, block.norm1(x), None, extra) + x
        for patch in self.patches.get("middle_patch", ()):
            x = patch(x, extra)
        x = self._attention("attn2", block.attn2, block.norm2(x), context, extra) + x
        x = block.ff(block.norm3(x)) + x
        return x.unflatten(0, (batch, frames))

    def _attention(
        self, name: str, layer: Any, n: Tensor, context: Tensor | None, extra: Options
    ) -> Tensor:
        """Attend from tokens `[N, S, C]` to `context` `[N, L, C']`, or to themselves, patched."""
        keys = values = n if context is None else context
        for patch in self.patches.get(f"{name}_patch", ()):
            given = n, keys, values
            patched = patch(*given, extra)
            changed = any(a is not b for a, b in zip(patched, given, strict=True))
            if effects := self.options.get(EFFECTS_KEY):
                effects.note(patch, changed)
            n, keys, values = patched
        q, k, v = layer.to_q(n), layer.to_k(keys), layer.to_v(values)
        replacement = self._replacement(name, extra)
        if replacement is not None:
            out = replacement(q, k, v, extra)
        else:
            out = self._attend_tokens(q, k, v, extra["n_heads"])
        out = layer.to_out(out)
        for patch in self.patches.get(f"{name}_output_patch", ()):
            out = patch(out, extra)
        return out

    def _attend_tokens(self, q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
        """Attend with tokens `[N, S, C]`; a patch may have cut the queries into more images."""
        if self._is_chosen(q.device) or len(q) != len(k):
            return comfy_attention.optimized_attention(
                q, k, v, heads, transformer_options=self.options
            )
        # [N, S, heads*d] -> [N, heads, S, d], and back
        split = (tokens.unflatten(-1, (heads, -1)).transpose(1, 2) for tokens in (q, k, v))
        return super().attend(*split).transpose(1, 2).flatten(2)

    def _replacement(self, name: str, extra: Options) -> Callable[..., Tensor] | None:
        """Return the function in place of an attention: of this transformer, or of its block."""
        given = self.replacements.get(name, {})
        block = extra["block"]
        return given.get((*block, extra["block_index"]), given.get(block))


def check_patches(options: Options, unet: HummingbirdUNet) -> None:
    """Check that this U-Net has all places that `transformer_options` change.

    Raises:
        InputError: a node is for another architecture; names it.
    """
    for name, patches in options.get("patches", {}).items():
        if patches and name not in ATTENTION_PATCHES | BLOCK_PATCHES:
            raise _foreign(f"a patch of {name!r}", patches[0])
    for name, places in options.get("patches_replace", {}).items():
        for place, function in places.items():
            if name not in REPLACEMENTS:
                raise _foreign(f"a replacement of {name} {place}", function)
            if not _has_attention(unet, place):
                raise _foreign(f"a replacement of {name} in block {tuple(place)}", function)
    if options.get("rope_options"):
        raise _foreign("rotary positions (ScaleROPE)", None)


def node_name(function: Any) -> str:
    """Return the class in which a function was defined, which is the node that made it."""
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return name.partition(".")[0]


def _foreign(what: str, function: Any) -> InputError:
    source = f" from {node_name(function)}" if function is not None else ""
    return InputError(
        f"input model: got {what}{source}, expected places that this U-Net has (pruned ones have "
        "no middle block): the node is for another architecture, remove it"
    )


def _has_attention(unet: HummingbirdUNet, place: tuple) -> bool:
    """Return whether a block (part, index) has a spatial transformer; there is one at most."""
    part, index, *rest = place
    blocks = {"input": unet.input_blocks, "output": unet.output_blocks}.get(part)
    if part == "middle" and unet.config.middle_block:
        blocks = [unet.middle_block]
    if blocks is None or not 0 <= index < len(blocks) or rest not in ([], [0]):
        return False
    return any(isinstance(layer, SpatialTransformer) for layer in blocks[index])
