"""Prompt enhancement, also by a language model that ComfyUI has loaded."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, wait
from threading import Event, Thread

import comfy.model_management
import comfy.sd
import comfy.utils

from ....hummingbird_core.errors import InputError, MissingPackageError, printable
from ....hummingbird_core.prompts import (
    SOURCES,
    ChatEnhancer,
    EnhancedPrompt,
    FunctionChat,
    create_enhancer,
)
from ....hummingbird_core.prompts.backends.base import MAX_ANSWER_TOKENS, TEMPERATURE, Check
from ....hummingbird_core.prompts.enhancer import check_request
from ..errors import naming
from ..model.text import tokenizer_of

COMFYUI = "comfyui"
ENHANCER_SOURCES = (*SOURCES, COMFYUI)
# The node inputs that errors of a source are about.
INPUTS_OF = {"builtin": "prompt", "local": "language_model", "server": "url or language_model"}

POLL_SECONDS = 0.1


def enhance(
    clip: comfy.sd.CLIP,
    prompt: str,
    source: str,
    language_model: str,
    url: str,
    seed: int,
    llm: comfy.sd.CLIP | None,
) -> EnhancedPrompt:
    """Return the enhanced prompt; a local language model is freed before this returns.

    A workflow may come from anyone, so its `url` gets no API key unless the user allowed the host.

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

    def ask(check: Check) -> EnhancedPrompt:
        with create_enhancer(
            source, tokenizer, model=model, url=url, trusted=False, check=check
        ) as enhancer:
            return enhancer.enhance(prompt, seed)

    with naming(INPUTS_OF[source]):
        if source == "server":
            return _interruptible(ask)
        if source == "local":  # transformers does not see ComfyUI's models: make room
            comfy.model_management.unload_all_models()
        return ask(_token_counter())


def _token_counter() -> Check:
    """Return a check, called per token, that moves ComfyUI's bar and raises on an interrupt."""
    bar = comfy.utils.ProgressBar(MAX_ANSWER_TOKENS)

    def count() -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update(1)

    return count


class _AbandonedError(Exception):
    """Stops a thread whose result is no longer awaited."""


def _interruptible(work: Callable[[Check], EnhancedPrompt]) -> EnhancedPrompt:
    """Run `work`, which waits for a server, in a thread that an interrupt abandons."""
    future: Future[EnhancedPrompt] = Future()
    abandoned = Event()

    def check() -> None:
        if abandoned.is_set():
            raise _AbandonedError

    def run() -> None:
        try:
            future.set_result(work(check))
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    try:
        while not wait([future], timeout=POLL_SECONDS).done:
            comfy.model_management.throw_exception_if_processing_interrupted()
    finally:
        abandoned.set()
    return future.result()


def _generator(llm: comfy.sd.CLIP | None) -> Callable[[str, str, int], str]:
    """Return a function (system, question, seed) -> answer."""
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
    """Return a report: the prompt, its length, and notes."""
    lines = [result.text, f"{result.tokens} of {result.room} tokens ({result.source})"]
    if result.english:
        lines.append(f"translated: {result.english}")
    if result.cut_off:
        lines.append(f"cut off to fit: {result.cut_off}")
    return "\n".join(map(printable, [*lines, *result.notes]))
