"""A prompt, with or without parts over time, as CONDITIONING with a report."""

from __future__ import annotations

from typing import Any

import comfy.sd
import torch

from ....hummingbird_core.errors import InputError
from ....hummingbird_core.inputs.prompt_parts import is_schedule, split_prompt
from ..errors import naming
from .text import describe, encode, tokenize
from .timeline import PROMPT_KEY, EncodedPrompt


def encode_prompt(clip: comfy.sd.CLIP, prompt: str) -> tuple[list[Any], int, str]:
    """Return the CONDITIONING of a prompt, the tokens of its longest text, and a report.

    Raises:
        InputError: a prompt over time is malformed, or the CLIP is not one of ours.
    """
    with naming("prompt"):
        texts = list(dict.fromkeys(part.text for part in split_prompt(prompt)))
    tokenized = [tokenize(clip, text) for text in texts]
    reports = [describe(clip, one) for one in tokenized]
    if is_schedule(prompt):
        reports = [f"{text}: {report}" for text, report in zip(texts, reports, strict=True)]
    encoded = [encode(clip, one) for one in tokenized]
    count = max(one.count for one in tokenized)
    return _with_texts(encoded, prompt), count, "\n".join(reports)


def _with_texts(encoded: list[list[Any]], prompt: str) -> list[Any]:
    """Return the CONDITIONING of the first text, which carries the prompt and all texts."""
    first = encoded[0]
    if len(encoded) > 1 and any(len(conditioning) > 1 for conditioning in encoded):
        raise InputError(
            "input clip: got a CLIP that changes over the steps, expected a plain one for a prompt "
            "over time: connect the CLIP of Load Hummingbird"
        )
    if len(encoded) == 1:
        of_entries = [tensor[:, None] for tensor, _ in first]
    else:
        of_entries = [torch.stack([conditioning[0][0] for conditioning in encoded], dim=1)]
    return [
        [tensor, {**values, PROMPT_KEY: EncodedPrompt(prompt, texts)}]
        for (tensor, values), texts in zip(first, of_entries, strict=True)
    ]
