"""The frames that the U-Net sees in a call: loops, windows, and texts that change over time.

A MODEL says in its `transformer_options` that it makes loops. A CONDITIONING carries its prompt;
the weights of the texts in each frame are made when a sampler knows the video.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import comfy.model_patcher
import torch
from torch import Tensor

from ....hummingbird_core.errors import InputError
from ....hummingbird_core.sampling.clip_frames import ClipFrames
from ....hummingbird_core.sampling.prompt_schedule import prompt_texts
from ....hummingbird_core.settings import check_can_loop, check_loop
from ..errors import naming

Options = dict[str, Any]  # transformer_options
LOOP_KEY = "hummingbird_loop"  # in transformer_options: whether time is a circle
CLIP_KEY = "hummingbird_clip"  # in transformer_options: the ClipFrames of our own windows
PROMPT_KEY = "hummingbird_prompt"  # in a CONDITIONING: its EncodedPrompt


@dataclass(frozen=True)
class EncodedPrompt:
    """The prompt of a CONDITIONING.

    Attributes:
        prompt: as written, with or without parts over time.
        texts: embeddings of its distinct texts, `[1, K, L, C]`; the first is the CONDITIONING's.
    """

    prompt: str
    texts: Tensor

    def text_weights(self, num_frames: int, fps: float) -> Tensor | None:
        """Return the weights of the texts in each frame, `[1, T, 2, K]`; None for a single text.

        The first of the two is for a video with ends, the second for a loop.

        Raises:
            InputError: the prompt does not fit a video of this length; names the input.
        """
        with naming("prompt"):
            both = [
                prompt_texts([self.prompt], num_frames, fps, loop=loop)[1] for loop in (False, True)
            ]
        weights = [w for w in both if w is not None]
        return torch.stack(weights, dim=2) if weights else None


def with_loop(model: comfy.model_patcher.ModelPatcher) -> comfy.model_patcher.ModelPatcher:
    """Return a clone of the MODEL whose videos have no first and no last frame.

    Raises:
        InputError: no motion that the model knows comes back.
    """
    config = model.model.diffusion_model.config
    if config.loop_words == ():
        raise InputError(
            "input model: got a model of which no motion comes back, expected another for a loop: "
            "choose 'swing' in Sample Video, with which any motion goes there and back"
        )
    model = model.clone()
    model.model_options["transformer_options"][LOOP_KEY] = True
    return model


def is_loop(model: comfy.model_patcher.ModelPatcher) -> bool:
    """Return whether the MODEL makes loops."""
    return bool(model.model_options.get("transformer_options", {}).get(LOOP_KEY))


def clip_frames(options: Options, num_frames: int) -> ClipFrames:
    """Return the frames of a call of the U-Net.

    Args:
        options: `transformer_options` of the call.
        num_frames: that it gets.
    """
    if CLIP_KEY in options:
        return options[CLIP_KEY]
    window = options.get("context_window")  # of ComfyUI's own windows
    if window is None:
        return ClipFrames(loop=bool(options.get(LOOP_KEY)))
    frames = list(window.index_list)
    if num_frames > len(frames):  # some releases show the frame before a window, too
        frames.insert(0, window.causal_anchor_index)
    return ClipFrames(torch.tensor(frames))


def call_inputs(options: Options, num_frames: int, text_weights: Tensor | None) -> dict[str, Any]:
    """Return the arguments of the U-Net for loops and texts over time.

    Args:
        options: `transformer_options` of the call.
        num_frames: that the U-Net gets.
        text_weights: of all frames of the video, see `EncodedPrompt.text_weights`, `[B, T, 2, K]`.
    """
    weights = None if text_weights is None else text_weights[:, :, int(LOOP_KEY in options)]
    return clip_frames(options, num_frames).unet_inputs(weights)


def check_frames_of_run(
    model_options: dict[str, Any], config: Any, conds: dict[str, list[Any]], num_frames: int
) -> None:
    """Check, before a sampler runs, that a MODEL with loops can make this one.

    Args:
        model_options: of the run.
        config: of the U-Net.
        conds: conditionings by name, as samplers hold them.
        num_frames: of the video.

    Raises:
        InputError: names the input.
    """
    if not model_options.get("transformer_options", {}).get(LOOP_KEY):
        return
    with naming("frames"):
        check_loop(True, num_frames)
    handler = model_options.get("context_handler")
    is_cut = handler is not None and handler.context_length < num_frames
    # Our own windows know of the loop; those of ComfyUI have a switch.
    if is_cut and not getattr(handler, "closed_loop", False):
        raise InputError(
            "input model: got Context Windows with two ends for a loop, expected closed ones: set "
            "closed_loop, and context_schedule to a looped one, or use Sample Video"
        )
    for entry in conds.get("positive", []):
        if PROMPT_KEY in entry:
            with naming("positive"):
                check_can_loop(entry[PROMPT_KEY].prompt, config.loop_words)


def texts_of(cross_attn: Tensor, encoded: EncodedPrompt) -> Tensor:
    """Return the texts of a CONDITIONING over time, `[1, K*L, C]`.

    Raises:
        InputError: a node has changed the embedding, of which it saw the first text only.
    """
    first = encoded.texts[:, 0].to(cross_attn)
    if cross_attn.shape != first.shape or not torch.equal(cross_attn, first):
        raise InputError(
            "input positive: got a prompt over time that another node has changed, expected it as "
            "Encode Prompt made it: nodes such as ConditioningAverage see its first text only; "
            "write all parts into one prompt"
        )
    return encoded.texts.flatten(1, 2).to(cross_attn)
