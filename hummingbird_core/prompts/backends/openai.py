"""Any server that speaks OpenAI's chat protocol: Ollama, llama.cpp, vLLM, LM Studio and others.

The standard library's HTTP client is used because huggingface_hub has changed its own from requests
to httpx and beyond, so that none of these can be relied on to be there.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from ... import __version__
from ...errors import HummingbirdError, InputError
from .base import MAX_ANSWER_TOKENS, TEMPERATURE, Chat, Check, never_stop

logger = logging.getLogger(__name__)

DEFAULT_URL = "http://localhost:11434/v1"  # Ollama's
KEY_VARIABLE = "HUMMINGBIRD_API_KEY"
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)  # HTTP statuses after which to try again
REFUSED = (400, 413, 422)  # HTTP statuses of a request that the server takes exception to
MAX_WAIT = 30.0  # seconds that a server may ask us to wait before the next try
MAX_ANSWER = 4 << 20  # bytes; a chat answer has a few thousand
SEEDS = 1 << 31  # some servers keep the seed as a signed integer of 32 bits
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class ServerError(HummingbirdError, OSError):
    """A language model's server refused the request: asking again would not help."""


class RequestRefusedError(ServerError):
    """A server refused this text (a content filter, the model's context); it may take another."""


class ServerUnavailableError(ServerError):
    """A server did not answer, or only with errors that may pass; it may work later."""

    status: int = 0
    """The HTTP status; 0 if there was no reply."""
    wait: float = 0.0
    """Seconds that the server asked to wait."""


class ServerChat(Chat):
    """A model on a server.

    The key, where the server wants one, comes from the environment variable HUMMINGBIRD_API_KEY
    and is sent to this server only; it is in no message, record or cache.

    Args:
        url: where the protocol begins, such as `http://localhost:11434/v1`.
        model: its name there; None takes the only one there is.
        timeout: seconds for one answer.
        attempts: how often to ask in all, when the server does not answer or is overloaded.
        backoff: seconds before the second attempt; doubled before each one that follows.
        check: called before each attempt.

    Raises:
        InputError: the URL or the key has not the form of one.
    """

    source = "server"

    def __init__(
        self,
        url: str = DEFAULT_URL,
        model: str | None = None,
        *,
        timeout: float = 120.0,
        attempts: int = 3,
        backoff: float = 1.0,
        check: Check = never_stop,
    ):
        self._url = _check_url(url)
        self._key = _key_from_environment()
        self._model = model
        self._timeout = timeout
        self._attempts = attempts
        self._backoff = backoff
        self._check = check
        self._opener = _opener(self._url)

    @property
    def model(self) -> str:
        if self._model is None:
            self._model = self._only_model()
        return self._model

    @property
    def provenance(self) -> dict[str, Any]:
        return {"source": self.source, "url": self._url, "model": self.model}

    def answer(self, system: str, question: str, seed: int) -> str:
        """The model's answer.

        Raises:
            ServerUnavailableError: no answer after all attempts.
            RequestRefusedError: the server answers, but not to this.
            ServerError: the server refused, or does not speak this protocol.
        """
        messages = [
            {"role": "system", "content": system},
            {"role": "user", "content": question},
        ]
        request = {
            "model": self.model,
            "messages": messages,
            "temperature": TEMPERATURE,
            "max_tokens": MAX_ANSWER_TOKENS,
            "seed": seed % SEEDS,
            "stream": False,
        }
        reply = self._ask("/chat/completions", request)
        try:
            # A model that calls a tool or only thinks answers null.
            return str(reply["choices"][0]["message"]["content"] or "")
        except (KeyError, IndexError, TypeError) as error:
            raise ServerError(
                f"got an answer without choices from {self._url}, expected OpenAI's chat format: "
                f"check the address ({_short(json.dumps(reply))})"
            ) from error

    def _only_model(self) -> str:
        reply = self._ask("/models")
        listed = reply.get("data") or []
        names = [str(entry["id"]) for entry in listed if isinstance(entry, dict) and "id" in entry]
        if len(names) == 1:
            return names[0]
        raise InputError(
            f"got no model, expected one of those on {self._url}: "
            f"{_short(', '.join(names)) or 'it lists none'}; choose one by its name"
        )

    def _ask(self, path: str, request: dict[str, Any] | None = None) -> dict[str, Any]:
        """One request, repeated with growing pauses while the failure may pass."""
        pause = self._backoff
        for _ in range(self._attempts - 1):
            try:
                return self._ask_once(path, request)
            except ServerUnavailableError as error:
                pause_now = max(pause, min(error.wait, MAX_WAIT))
                logger.info("trying again in %.0f s: %s", pause_now, error)
                time.sleep(pause_now)
                pause *= 2
        return self._ask_once(path, request)

    def _ask_once(self, path: str, request: dict[str, Any] | None) -> dict[str, Any]:
        self._check()
        try:
            body = self._exchange(path, request)
        except urllib.error.HTTPError as error:
            raise self._refusal(error) from error
        except (OSError, http.client.HTTPException) as error:
            raise ServerUnavailableError(
                f"got no answer from {self._url} ({self._reason(error)}), expected a language "
                "model's server: start it, or give its address"
            ) from error
        return self._parse(body)

    def _exchange(self, path: str, request: dict[str, Any] | None) -> bytes:
        headers = {"User-Agent": f"hummingbird/{__version__}", "Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        data = None if request is None else json.dumps(request).encode()
        message = urllib.request.Request(self._url + path, data, headers)
        deadline = time.monotonic() + self._timeout
        with self._opener.open(message, timeout=self._timeout) as response:
            return _read_until(response, deadline)

    def _parse(self, body: bytes) -> dict[str, Any]:
        try:
            reply = json.loads(body)
        except ValueError as error:
            if body.lstrip().startswith(b"{"):
                raise ServerUnavailableError(
                    f"got a broken answer from {self._url}, expected JSON: try again"
                ) from error
            reply = None
        if not isinstance(reply, dict):
            raise ServerError(
                f"got {_short(body.decode('utf-8', 'replace'))!r} from {self._url}, expected "
                "OpenAI's chat format: check the address, which often ends in /v1"
            )
        return reply

    def _refusal(self, error: urllib.error.HTTPError) -> ServerError:
        """What an HTTP status other than success means, and what to do."""
        with error:
            said = self._redact(_error_text(error))
        if 300 <= error.code < 400:
            said = f"it points to {error.headers.get('Location')}"
        got = f"got HTTP {error.code} from {self._url}" + (f" ({said})" if said else "")
        if error.code in TRANSIENT:
            unavailable = ServerUnavailableError(f"{got}, expected an answer: try again later")
            unavailable.status = error.code
            unavailable.wait = _seconds(error.headers.get("Retry-After"))
            return unavailable
        if error.code in REFUSED:
            return RequestRefusedError(
                f"{got}, expected an answer: shorten or reword the text, or check --model"
            )
        advice = {
            401: f"expected a valid key: set {KEY_VARIABLE}",
            403: f"expected a key with access to the model: check {KEY_VARIABLE}",
            404: f"expected the model {self._model!r} at this address: check both",
        }
        usual = "expected an answer: check the address"
        return ServerError(f"{got}, {advice.get(error.code, usual)}")

    def _reason(self, error: Exception) -> str:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(cause, TimeoutError):
            return f"no reply within {self._timeout:g} s"
        return self._redact(str(getattr(cause, "strerror", None) or cause))

    def _redact(self, text: str) -> str:
        """Some servers repeat a wrong key in their answer."""
        return _short(text.replace(self._key, "***") if self._key else text)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to another server, and turn the POST into a GET."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _opener(url: str) -> urllib.request.OpenerDirector:
    if urlsplit(url).hostname in LOOPBACK:  # no proxy knows the way to a server on this machine
        return urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))
    return urllib.request.build_opener(_NoRedirect)


def _check_url(url: str) -> str:
    """The URL without what clients add to it; with /v1 if it names a host only."""
    try:
        parts = urlsplit(url.strip())
        is_usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable or parts.username or not url.strip().isprintable():
        # Not shown, because what is wrong with it may be a password in it.
        raise InputError(f"got a server URL that is none, expected one like {DEFAULT_URL}: fix it")
    path = parts.path.rstrip("/").removesuffix("/chat/completions") or "/v1"
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def _key_from_environment() -> str:
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise InputError(
            f"got a {KEY_VARIABLE} with characters that no key has, expected letters, digits and "
            "signs in one line: set it again"
        )
    return key


def _read_until(response: http.client.HTTPResponse, deadline: float) -> bytes:
    """The body; the socket's own timeout would let a server drip bytes for ever."""
    body = bytearray()
    while chunk := response.read1(1 << 16):
        body += chunk
        if time.monotonic() > deadline:
            raise TimeoutError
        if len(body) > MAX_ANSWER:
            raise OSError(f"it sent more than {MAX_ANSWER >> 20} MiB")
    return bytes(body)


def _error_text(error: urllib.error.HTTPError) -> str:
    """What the server says of its error: `{"error": {"message": ...}}`, `{"error": ...}`, text."""
    try:
        body = error.read(1 << 16).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        return ""
    try:
        said = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return "" if body.lstrip().startswith("<") else body
    return str(said.get("message", said) if isinstance(said, dict) else said)


def _seconds(retry_after: str | None) -> float:
    """A `Retry-After` in seconds; its other form, a date, counts as none."""
    return float(retry_after) if retry_after and retry_after.isdecimal() else 0.0


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 200 else f"{line[:200]}..."
