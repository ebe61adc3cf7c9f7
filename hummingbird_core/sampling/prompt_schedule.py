"""Prompts over time: `0: a fox runs; 24: a fox sleeps`, a text for each part of a video.

A part is `FRAME: text` or `SECONDSs: text`, such as `2.5s: a fox sleeps`; parts are separated by
semicolons, or by lines. A text that does not begin with `0:` or `0s:` is an ordinary prompt.

At a border the embeddings of both texts are blended over BLEND_FRAMES frames. Shapes: B videos, T
frames, K texts of L tokens each, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..inputs.prompt_parts import fitting_parts

FRAMES_ONLY = 1.0  # frames per second for prompts whose times are frames
BLEND_FRAMES = 4  # half of them before a border, half behind it


def prompt_texts(
    prompts: Sequence[str], num_frames: int, fps: float, *, loop: bool = False
) -> tuple[list[list[str]], Tensor | None]:
    """Return the texts of several prompts, and their weights in each frame.

    Args:
        prompts: one per video, with or without parts.
        num_frames: T.
        fps: frames per second, for times in seconds.
        loop: whether the last part blends into the first one.

    Returns:
        K distinct texts per video, where shorter lists repeat their first text with weight 0, and
        weights `[B, T, K]` of which each row sums to 1; None if every video has a single text.

    Raises:
        InputError: a prompt has no text or time where one is needed, or does not fit the video.
    """
    schedules = [fitting_parts(prompt, num_frames, fps) for prompt in prompts]
    texts = [list(dict.fromkeys(part.text for part in parts)) for parts in schedules]
    most = max(map(len, texts))
    if most == 1:
        return texts, None
    weights = torch.zeros(len(prompts), num_frames, most)
    for video, (parts, own) in enumerate(zip(schedules, texts, strict=True)):
        by_part = part_weights([part.start(fps) for part in parts], num_frames, loop=loop)
        index = torch.tensor([own.index(part.text) for part in parts])
        weights[video].index_add_(1, index, by_part)
    return [own + own[:1] * (most - len(own)) for own in texts], weights


def part_weights(starts: Sequence[float], num_frames: int, *, loop: bool = False) -> Tensor:
    """Return the weight of each part in each frame, `[T, parts]`.

    Every part lasts until the next one begins. The weight is the share of BLEND_FRAMES frames
    around the middle of a frame that lies in the part: 1 inside, and a ramp across a border.
    """
    half = BLEND_FRAMES / 2
    middle = torch.arange(num_frames)[:, None] + 0.5  # [T, 1]
    begin = torch.tensor(starts)
    end = torch.cat([begin[1:], begin.new_full((1,), num_frames)])

    def share(offset: float) -> Tensor:
        left = (begin + offset).maximum(middle - half)  # [T, parts]
        return ((end + offset).minimum(middle + half) - left).clamp(min=0) / BLEND_FRAMES

    if loop:  # the parts of the round before and of the next one
        return share(-num_frames) + share(0) + share(num_frames)
    begin[0], end[-1] = -half, num_frames + half
    return share(0)


def mix_texts(embeddings: Tensor, weights: Tensor) -> Tensor:
    """Return the embedding of each frame, `[B, T, L, C]`.

    Args:
        embeddings: of K texts a video, `[B, K, L, C]`.
        weights: `[B, T, K]`.
    """
    # [B, T, K] @ [B, K, L*C] -> [B, T, L*C] -> [B, T, L, C]
    mixed = weights.to(embeddings) @ embeddings.flatten(2)
    return mixed.unflatten(-1, embeddings.shape[2:])


def distinct_texts(context: Tensor) -> tuple[Tensor, Tensor]:
    """Return one text for each run of equal frames, and the weights that give them back.

    Args:
        context: a text for each frame, `[B, T, L, C]`.

    Returns:
        `[B, K, L, C]`, and weights `[B, T, K]`, of which one in each row is 1.
    """
    is_new = torch.ones(context.shape[1], dtype=torch.bool, device=context.device)  # [T]
    if not torch.compiler.is_compiling():  # a graph needs a K that does not depend on values
        is_new[1:] = (context[:, 1:] != context[:, :-1]).flatten(2).any(dim=2).any(dim=0)
    texts = context[:, is_new.nonzero()[:, 0]]
    run = is_new.cumsum(dim=0) - 1  # [T]: the number of each frame's run
    weights = torch.nn.functional.one_hot(run, texts.shape[1]).to(context)  # [T, K]
    return texts, weights.expand(len(context), -1, -1)
