"""The interface of a chat model: one answer to one question."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from ...errors import HummingbirdError

# Sampling temperature of all backends, high enough that another seed gives another prompt.
TEMPERATURE = 0.7
# Maximum answer length. A prompt takes about 75 tokens; the rest is for reasoning models.
MAX_ANSWER_TOKENS = 2048
# Bytes of an answer's text; a longer one is no prompt, but a model that repeats itself.
MAX_ANSWER_TEXT = 16 << 10


class LongAnswerError(HummingbirdError):
    """An answer is too long for a prompt; another seed or question may get a usable one."""


# Called repeatedly during generation; any exception it raises cancels the request.
Check = Callable[[], None]


def never_stop() -> None:
    """No-op check for callers that never cancel."""


class Chat(ABC):
    """A language model that answers single questions without a conversation history.

    Attributes:
        source: the kind: "local", "server" or "comfyui".
    """

    source: str

    @property
    @abstractmethod
    def model(self) -> str:
        """Name of the model, without folders."""

    @property
    @abstractmethod
    def provenance(self) -> dict[str, Any]:
        """Everything that determines the answers apart from the question, ready for JSON."""

    @abstractmethod
    def answer(self, system: str, question: str, seed: int) -> str:
        """Return the model's raw answer to a system prompt and a user message."""

    def close(self) -> None:  # noqa: B027 - only a model in this process has something to free
        """Free the memory; the next `answer` loads the model again."""


class FunctionChat(Chat):
    """A chat model backed by a function, such as ComfyUI's own text generation.

    Args:
        function: called with (system prompt, user message, seed); returns the answer.
        model: name of the model, for the metadata.
        source: name of the backend.
    """

    def __init__(
        self, function: Callable[[str, str, int], str], model: str, source: str = "comfyui"
    ):
        self.source = source
        self._function = function
        self._model = model

    @property
    def model(self) -> str:
        """Name of the model, for the metadata."""
        return self._model

    @property
    def provenance(self) -> dict[str, Any]:
        """Source and model."""
        return {"source": self.source, "model": self._model}

    def answer(self, system: str, question: str, seed: int) -> str:
        """Return the function's answer."""
        return self._function(system, question, seed)
