"""What every way to make a prompt better has in common: one method, one kind of result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from ..errors import InputError
from ..seeds import video_seed

MAX_PROMPT = 10_000  # characters; more is a document, which no source can use


@dataclass(frozen=True)
class EnhancedPrompt:
    """A prompt for the video model, and how it came about.

    Attributes:
        text: what to give to the video model; it fits the text window.
        original: what the user wrote, unchanged.
        source: "builtin", "local", "server" or "comfyui".
        model: the language model's name without folders; None for the built-in expander.
        seed: another seed, another wording.
        tokens: length of `text`, counted by the video model's tokenizer, without start and end.
        room: the most tokens that the text window takes.
        cut_off: the end that had to be left out to fit; empty if everything fits.
        english: the prompt in English as the language model translated it; None if it was English.
        notes: what the user should know, one sentence each.
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
        """What to store in the metadata of a video made from `text`; all of it can go into JSON."""
        enhancer = {"source": self.source, "model": self.model, "seed": self.seed}
        return {"original_prompt": self.original, "enhancer": enhancer}


class Enhancer(ABC):
    """Makes prompts better. Use it in a `with` block: leaving it gives back the memory."""

    @abstractmethod
    def enhance(self, prompt: str, seed: int = 0) -> EnhancedPrompt:
        """The same prompt and seed give the same result.

        Raises:
            InputError: the prompt is empty or too long, or the seed is out of range.
        """

    def close(self) -> None:  # noqa: B027 - only a source that holds something has work here
        """Frees what the source holds; the next `enhance` gets it again."""

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
    """The prompt in one line. Raises InputError if nothing can be made of prompt or seed."""
    text = " ".join(prompt.split())
    if not text:
        raise InputError("got an empty prompt, expected text: say what the video should show")
    if len(text) > MAX_PROMPT:
        raise InputError(
            f"got a prompt of {len(text):,} characters, expected at most {MAX_PROMPT:,}: shorten it"
        )
    video_seed(seed, 0)
    return text
