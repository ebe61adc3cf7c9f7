"""Prompt enhancement, also by a language model that ComfyUI has loaded."""

from __future__ import annotations

import comfy.sd

from ...hummingbird_core.errors import InputError, MissingPackageError
from ...hummingbird_core.prompts import (
    SOURCES,
    ChatEnhancer,
    EnhancedPrompt,
    FunctionChat,
    create_enhancer,
)
from ...hummingbird_core.prompts.chat import MAX_ANSWER_TOKENS, TEMPERATURE
from ...hummingbird_core.prompts.enhancer import check_request
from .errors import naming
from .text import tokenizer_of

COMFYUI = "comfyui"
ENHANCER_SOURCES = (*SOURCES, COMFYUI)
# That the errors of a source are about.
INPUTS_OF = {"builtin": "prompt", "local": "language_model", "server": "url or language_model"}


def enhance(
    clip: comfy.sd.CLIP,
    prompt: str,
    source: str,
    language_model: str,
    url: str,
    seed: int,
    llm: comfy.sd.CLIP | None,
) -> EnhancedPrompt:
    """One prompt, enhanced; a local language model is freed again before this returns.

    Raises:
        InputError: names the input to change.
    """
    tokenizer = tokenizer_of(clip)
    with naming("prompt"):
        check_request(prompt, seed)
    if source == COMFYUI:
        chat = FunctionChat(_generator(llm), type(llm).__name__, COMFYUI)
        return ChatEnhancer(chat, tokenizer).enhance(prompt, seed)
    model = language_model.strip() or None
    with (
        naming(INPUTS_OF[source]),
        create_enhancer(source, tokenizer, model=model, url=url) as enhancer,
    ):
        return enhancer.enhance(prompt, seed)


def _generator(llm: comfy.sd.CLIP | None):
    """A function (system, question, seed) -> answer."""
    if llm is None:
        raise InputError(
            "input llm: got nothing, expected a language model: connect Load CLIP, or choose "
            "another source"
        )
    if not hasattr(llm, "generate"):
        raise MissingPackageError(
            "input source: this release of ComfyUI has no text generation: update it, or choose "
            "another source"
        )

    def answer(system: str, question: str, seed: int) -> str:
        tokens = llm.tokenize(f"{system}\n\n{question}", min_length=1)
        ids = llm.generate(
            tokens,
            do_sample=True,
            max_length=MAX_ANSWER_TOKENS,
            temperature=TEMPERATURE,
            seed=seed,
        )
        return llm.decode(ids)

    return answer


def describe_enhanced(result: EnhancedPrompt) -> str:
    """The prompt, its length, and what the user should know."""
    lines = [result.text, f"{result.tokens} of {result.room} tokens ({result.source})"]
    if result.english:
        lines.append(f"translated: {result.english}")
    if result.cut_off:
        lines.append(f"cut off to fit: {result.cut_off}")
    return "\n".join([*lines, *result.notes])
