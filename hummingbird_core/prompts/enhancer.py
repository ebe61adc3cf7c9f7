"""The interface of all prompt enhancers, and their result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from ..errors import InputError
from ..inputs.prompt_parts import is_schedule
from ..inputs.text import check_prompt
from ..seeds import video_seed


@dataclass(frozen=True)
class EnhancedPrompt:
    """A prompt for the video model, with its provenance.

    Attributes:
        text: the prompt for the video model; it fits the text window.
        original: the user's prompt, unchanged.
        source: "builtin", "local", "server" or "comfyui".
        model: the language model's name without folders; None for the built-in expander.
        seed: seed of the wording.
        tokens: length of `text`, counted by the video model's tokenizer, without start and end.
        room: capacity of the text window in tokens.
        cut_off: the end that was removed to fit; empty if everything fits.
        english: the language model's translation of the prompt; None if it was in English.
        notes: remarks for the user, one sentence each.
    """

    text: str
    original: str
    source: str
    model: str | None
    seed: int
    tokens: int
    room: int
    cut_off: str = ""
    english: str | None = None
    notes: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """Return the metadata for a video made from `text`, ready for JSON."""
        enhancer = {"source": self.source, "model": self.model, "seed": self.seed}
        return {"original_prompt": self.original, "enhancer": enhancer}


class Enhancer(ABC):
    """Enhances prompts; use it in a `with` block, whose end frees its memory."""

    @abstractmethod
    def enhance(self, prompt: str, seed: int = 0) -> EnhancedPrompt:
        """Return the enhanced prompt; the same prompt and seed give the same result.

        Raises:
            InputError: the prompt is empty or too long, or the seed is out of range.
        """

    def close(self) -> None:  # noqa: B027 - only a source that holds something has work here
        """Free the resources; the next `enhance` loads them again."""

    def __enter__(self) -> Enhancer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def check_request(prompt: str, seed: int) -> str:
    """Return the prompt in one line; raise InputError if the prompt or the seed is invalid."""
    check_prompt(prompt)
    video_seed(seed, 0)
    if is_schedule(prompt):
        raise InputError(
            "got a prompt over time to enhance, expected a single text: enhance each of its texts, "
            "then join them"
        )
    return " ".join(prompt.split())
