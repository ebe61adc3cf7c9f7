"""What the enhancer needs of a language model: an answer to one question."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

# How all sources sample: free enough that another seed gives another prompt.
TEMPERATURE = 0.7
# The longest answer. The prompt itself takes about 75; the rest is for models that think first.
MAX_ANSWER_TOKENS = 2048


# Called again and again while an answer is awaited; whatever it raises ends the waiting.
Check = Callable[[], None]


def never_stop() -> None:
    """The check of who waits for every answer."""


class Chat(ABC):
    """A language model that answers one question at a time and remembers nothing.

    Attributes:
        source: the kind: "local", "server" or "comfyui".
    """

    source: str

    @property
    @abstractmethod
    def model(self) -> str:
        """The model's name, without folders."""

    @property
    @abstractmethod
    def provenance(self) -> dict[str, Any]:
        """What decides the answers beside the question; it can go into JSON."""

    @abstractmethod
    def answer(self, system: str, question: str, seed: int) -> str:
        """The model's words as they come, to a system prompt and a user's message."""

    def close(self) -> None:  # noqa: B027 - only a model in this process has something to free
        """Gives back the memory; the next `answer` loads the model again."""


class FunctionChat(Chat):
    """A function as a language model: how ComfyUI's own text generation comes in.

    Args:
        function: called with (system prompt, user's message, seed); returns the answer.
        model: a name for it, for the metadata.
        source: what kind it is.
    """

    def __init__(
        self, function: Callable[[str, str, int], str], model: str, source: str = "comfyui"
    ):
        self.source = source
        self._function = function
        self._model = model

    @property
    def model(self) -> str:
        return self._model

    @property
    def provenance(self) -> dict[str, Any]:
        return {"source": self.source, "model": self._model}

    def answer(self, system: str, question: str, seed: int) -> str:
        return self._function(system, question, seed)
