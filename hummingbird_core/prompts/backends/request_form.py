"""Fields that a server refuses: they are renamed, left out or moved, and the request is sent again.

OpenAI's reasoning models refuse `max_tokens` and a temperature, Mistral refuses `seed`, and chat
templates such as Gemma 2's have no system role. The error names the field.
"""

from __future__ import annotations

import re
from typing import Any

# HTTP statuses of a refused field; servers whose chat template fails send 500.
STATUSES = (400, 422, 500)
NEW_NAMES = {"max_tokens": "max_completion_tokens"}  # refused field -> its successor
OPTIONAL = ("max_tokens", "max_completion_tokens", "temperature", "seed", "stream")
SYSTEM = "a system message"
_SYSTEM_ROLE = re.compile(
    r"\b(system|developer)\W+(\w+\W+){0,3}?(roles?|messages?|instructions?|prompts?|not|unsupported)\b"
    r"|\broles?\b.{0,60}\b(system|developer|support\w*|alternate|user)\b",
    re.IGNORECASE,
)


class RequestForm:
    """The form of requests that a server takes, learned from its errors."""

    def __init__(self) -> None:
        self._refused: set[str] = set()

    def apply(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the request without refused fields."""
        sent: dict[str, Any] = {}
        for name, value in request.items():
            if name in self._refused:
                name = NEW_NAMES.get(name, name)
            if name not in self._refused:
                sent[name] = value
        if SYSTEM in self._refused:
            content = _joined([message["content"] for message in request["messages"]])
            sent["messages"] = [{"role": "user", "content": content}]
        return sent

    def learn(self, sent: dict[str, Any], status: int, words: str) -> str:
        """Remember the fields of a request that the words of an error name.

        Returns:
            their names, for the log; "" if the error names none, and asking again is useless.
        """
        if status not in STATUSES:
            return ""
        refused = [name for name in OPTIONAL if name in sent and _names(words, name)]
        if len(sent["messages"]) > 1 and _SYSTEM_ROLE.search(words):
            refused.append(SYSTEM)
        self._refused.update(refused)
        return ", ".join(refused)


def _joined(contents: list[Any]) -> Any:
    """Return texts as one text, or with images among them as one list of parts."""
    if all(isinstance(content, str) for content in contents):
        return "\n\n".join(contents)
    texts = [{"type": "text", "text": content} for content in contents if isinstance(content, str)]
    return [
        *texts,
        *(part for content in contents if isinstance(content, list) for part in content),
    ]


def _names(words: str, field: str) -> bool:
    return re.search(rf"(?<![\w-]){field}(?![\w-])", words) is not None
