"""Read a chat server's answer: its text, or its error, which many servers send with HTTP 200."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

MAX_DEPTH = 6  # of an error's nested JSON
UNKNOWN_ERROR = 500  # status of an error without a code that we know: it may be this request's
# Codes, types and states of errors by their HTTP status, as OpenAI, Anthropic, Google and others
# name them.
STATUS_OF = {
    400: "invalid_request_error context_length_exceeded content_filter bad_request "
    "unsupported_parameter unsupported_value invalid_argument failed_precondition badrequesterror",
    401: "invalid_api_key authentication_error unauthenticated unauthorized",
    402: "insufficient_credits billing_error payment_required",
    403: "permission_error permission_denied forbidden",
    404: "model_not_found not_found_error not_found",
    408: "timeout timeout_error",
    429: "rate_limit_exceeded rate_limit_error too_many_requests resource_exhausted "
    "insufficient_quota",
    502: "bad_gateway provider_error upstream_error",
    503: "overloaded_error overloaded service_unavailable unavailable engine_overloaded",
    504: "deadline_exceeded gateway_timeout",
}
_STATUSES = {name: status for status, names in STATUS_OF.items() for name in names.split()}
# Keys of the words for people, best first.
_WORDS = ("message", "msg", "detail", "error", "description", "reason", "title", "metadata", "raw")
_HALF_PAIR = re.compile("[\ud800-\udfff]")  # of surrogates, which no encoding can hold
_CODES = ("code", "status", "status_code", "statusCode", "type", "error_code")


@dataclass(frozen=True)
class Fault:
    """An error that a server reports: the HTTP status it means, and its words."""

    status: int
    words: str


def parse(body: bytes) -> Any:
    """Return the JSON value of an answer; None if it is no JSON, or nested too deeply."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def unstreamed(body: bytes) -> dict[str, Any] | None:
    """Return a stream of events as one answer: some servers stream although told not to.

    None if it is no stream, or one that breaks off.
    """
    events = [line[5:].strip() for line in body.splitlines() if line.startswith(b"data:")]
    chunks = [chunk for event in events if isinstance(chunk := parse(event), dict)]
    if faulty := [chunk for chunk in chunks if chunk.get("error")]:
        return faulty[0]
    choices = [first_choice(chunk) for chunk in chunks]
    ends = [choice["finish_reason"] for choice in choices if choice.get("finish_reason")]
    if not ends and b"[DONE]" not in events:
        return None
    deltas = [choice.get("delta") for choice in choices]
    parts = [delta.get("content") for delta in deltas if isinstance(delta, dict)]
    return {"choices": [{"message": {"content": parts}, "finish_reason": (ends or [None])[0]}]}


def fault_of(reply: Any) -> Fault | None:
    """Return the error in the JSON of an answer with HTTP 200, None if it is none."""
    if isinstance(reply, list) and len(reply) == 1:  # Google sends errors in a list
        reply = reply[0]
    if not isinstance(reply, dict):
        return None
    choice = first_choice(reply)
    for holder in (reply, choice):
        if holder.get("error"):
            return Fault(_status(holder), words_of(holder["error"]))
    if choice.get("finish_reason") == "error":
        return Fault(UNKNOWN_ERROR, "the answer was broken off")
    is_other = not reply.keys().isdisjoint({"message", "detail"}) and "choices" not in reply
    if reply.get("object") == "error" or (is_other and isinstance(_code(reply), int)):
        return Fault(_status(reply), words_of(reply))
    return None


def first_choice(reply: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the first choice of a chat answer; {} if there is none."""
    choices = reply.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    return choice if isinstance(choice, dict) else {}


def text_of(choice: Mapping[str, Any]) -> str | None:
    """Return the text of a choice, "" for one without words, None for an unknown form.

    The content is a text, null (the model only reasoned, or called a tool) or a list of parts, of
    which the thoughts are left out. An answer that a filter broke off is no text.
    """
    message = choice.get("message")
    if isinstance(message, dict):
        content = message.get("content")
    elif isinstance(choice.get("text"), str):  # the older protocol for completions
        content = choice["text"]
    else:
        return None
    if choice.get("finish_reason") == "content_filter":
        return ""
    parts = content if isinstance(content, list) else [content]
    texts = [_part(part) for part in parts]
    if None in texts:
        return None
    return _HALF_PAIR.sub("", "".join(text for text in texts if text))


def _part(part: Any) -> str | None:
    if part is None or isinstance(part, str):
        return part or ""
    if not isinstance(part, dict):
        return None
    if part.get("type", "text") not in ("text", "output_text"):
        return ""  # thinking, reasoning, a tool call, an image
    text = part.get("text")
    if isinstance(text, dict):  # {"value": ..., "annotations": ...}
        text = text.get("value")
    return text if isinstance(text, str) else None


def words_of(value: Any) -> str:
    """Return the words for people in an error's JSON, such as `message` or a list of details."""
    return "; ".join(dict.fromkeys(_words(value, MAX_DEPTH)))


def error_text(body: bytes) -> str:
    """Return the words in the body of an answer with an error status; "" for a web page."""
    reply = parse(body)
    if reply is not None:
        return words_of(reply)
    text = body.decode("utf-8", "replace").strip()
    return "" if text.startswith("<") else text


def _words(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield from _unnested(value.strip(), depth)
    elif isinstance(value, list) and depth:
        for entry in value:
            yield from _words(entry, depth - 1)
    elif isinstance(value, dict) and depth:
        where = value.get("loc")  # of FastAPI's and Pydantic's details: ["body", "seed"]
        prefix = f"{'.'.join(map(str, where))}: " if isinstance(where, list) else ""
        found = [words for key in _WORDS if key in value for words in _words(value[key], depth - 1)]
        yield from (prefix + words for words in found)


def _unnested(text: str, depth: int) -> Iterator[str]:
    """Yield a text, or the words in it if a proxy has quoted the JSON of another server."""
    inner = parse(text.encode("utf-8", "replace")) if re.match(r"[\[{]", text) and depth else None
    if isinstance(inner, dict | list):
        yield from _words(inner, depth - 1)
    elif text:
        yield text


def _status(holder: Mapping[str, Any]) -> int:
    error = holder.get("error")
    for candidate in (error, holder):
        code = _code(candidate) if isinstance(candidate, dict) else None
        if code is not None:
            return code
    return UNKNOWN_ERROR


def _code(error: Mapping[str, Any]) -> int | None:
    """Return the HTTP status that an error's code, type or state means."""
    for key in _CODES:
        value = error.get(key)
        if isinstance(value, str):
            value = (
                int(value) if re.fullmatch("[45][0-9]{2}", value) else _STATUSES.get(value.lower())
            )
        if isinstance(value, int) and not isinstance(value, bool) and 400 <= value < 600:
            return value
    return None
