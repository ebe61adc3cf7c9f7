"""Client for servers with OpenAI's chat protocol: Ollama, llama.cpp, vLLM, LM Studio and others.

It uses the standard library's HTTP client, because huggingface_hub has moved from requests to httpx
and beyond, so none of these is certain to be installed.
"""

from __future__ import annotations

import http.client
import json
import re
import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from ... import __version__
from ...errors import HummingbirdError, InputError
from ...terminal import get_logger
from .api_key import HOSTS_VARIABLE, KEY_VARIABLE, check_key, is_loopback
from .base import MAX_ANSWER_TOKENS, TEMPERATURE, Chat, Check, never_stop

logger = get_logger(__name__)

DEFAULT_URL = "http://localhost:11434/v1"  # Ollama's
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)  # HTTP statuses that are retried
REFUSED = (400, 413, 422)  # HTTP statuses of a request that the server does not accept
MAX_WAIT = 30.0  # seconds: the longest Retry-After that is obeyed
MIN_SECRET = 8  # characters of a key that may not occur in an answer
MAX_QUOTE = 200  # characters of a server's words in a message
MAX_ANSWER = 4 << 20  # bytes; a chat answer has a few thousand
SEEDS = 1 << 31  # some servers keep the seed as a signed integer of 32 bits
# Host and port alone: no user name, no password, and no escapes, which urllib would decode later.
HOST = re.compile(r"([\w.-]+|\[[0-9A-Fa-f:.]+\])(:\d*)?")


class ServerError(HummingbirdError, OSError):
    """The server refused the request; a retry would not help."""


class RequestRefusedError(ServerError):
    """The server refused this text (content filter, context length) but may accept another."""


class ServerUnavailableError(ServerError):
    """The server did not answer, or only with transient errors; a later retry may work."""

    status: int = 0
    """The HTTP status; 0 if there was no reply."""
    wait: float = 0.0
    """Seconds to wait, from the server's Retry-After."""


class ServerChat(Chat):
    """A model on a server.

    The key is sent to this server only, redirects are not followed, and no message, record, cache
    or answer holds it.

    Args:
        url: base URL of the protocol, such as `http://localhost:11434/v1`.
        model: name of the model on the server; None takes the only one.
        key: bearer token; None sends none. `api_key.key_for` decides who may get the user's key.
        timeout: seconds for one answer.
        attempts: maximum number of requests if the server does not answer or is overloaded.
        backoff: seconds before the second attempt; doubled before each further one.
        check: called before each attempt.

    Raises:
        InputError: the URL or the key is malformed.
    """

    source = "server"

    def __init__(
        self,
        url: str = DEFAULT_URL,
        model: str | None = None,
        *,
        key: str | None = None,
        timeout: float = 120.0,
        attempts: int = 3,
        backoff: float = 1.0,
        check: Check = never_stop,
    ):
        self._url = check_url(url)
        self._key = check_key(key or "")
        self._model = model
        self._timeout = timeout
        self._attempts = attempts
        self._backoff = backoff
        self._check = check
        self._opener = _opener(self._url)

    @property
    def model(self) -> str:
        """Name of the model; asks the server for its only one if no name was given."""
        if self._model is None:
            self._model = self._only_model()
        return self._model

    @property
    def provenance(self) -> dict[str, Any]:
        """Source, URL (which holds no credentials) and model."""
        return {"source": self.source, "url": self._url, "model": self.model}

    def answer(self, system: str, question: str, seed: int) -> str:
        """Return the model's answer.

        Raises:
            ServerUnavailableError: no answer after all attempts.
            RequestRefusedError: the server refuses this text.
            ServerError: the server refused the request, or does not speak this protocol.
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
            # The content is null if the model only called a tool or reasoned.
            return self._redact(str(reply["choices"][0]["message"]["content"] or ""))
        except (KeyError, IndexError, TypeError) as error:
            raise ServerError(
                f"got an answer without choices from {self._url}, expected OpenAI's chat format: "
                f"check the address ({self._quote(json.dumps(reply))})"
            ) from error

    def _only_model(self) -> str:
        reply = self._ask("/models")
        listed = reply.get("data") or []
        names = [str(entry["id"]) for entry in listed if isinstance(entry, dict) and "id" in entry]
        if len(names) == 1:
            return self._redact(names[0])
        raise InputError(
            f"got no model, expected one of those on {self._url}: "
            f"{self._quote(', '.join(names)) or 'it lists none'}; choose one by its name"
        )

    def _ask(self, path: str, request: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send a request, and retry transient failures with exponential backoff."""
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
            # Without its cause: a traceback would show the status line, which may repeat the key.
            raise self._refusal(error) from None
        except (OSError, http.client.HTTPException) as error:
            raise ServerUnavailableError(
                f"got no answer from {self._url} ({self._reason(error)}), expected a language "
                "model's server: start it, or give its address"
            ) from None
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
        except (ValueError, RecursionError) as error:
            if body.lstrip().startswith(b"{"):
                raise ServerUnavailableError(
                    f"got a broken answer from {self._url}, expected JSON: try again"
                ) from error
            reply = None
        if not isinstance(reply, dict):
            raise ServerError(
                f"got {self._quote(body.decode('utf-8', 'replace'))!r} from {self._url}, expected "
                "OpenAI's chat format: check the address, which often ends in /v1"
            )
        return reply

    def _refusal(self, error: urllib.error.HTTPError) -> ServerError:
        """Return the exception for an HTTP status other than success, with advice."""
        with error:
            said = self._quote(_error_text(error))
        if 300 <= error.code < 400:
            said = self._quote(f"it points to {error.headers.get('Location')}")
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
        return ServerError(f"{got}, {self._advice(error.code)}")

    def _advice(self, status: int) -> str:
        if status in (401, 403) and not self._key:
            return (
                f"expected a key, none was sent: set {KEY_VARIABLE}, and if a workflow chose the "
                f"address, list its host in {HOSTS_VARIABLE}"
            )
        advice = {
            401: f"expected a valid key: set {KEY_VARIABLE}",
            403: f"expected a key with access to the model: check {KEY_VARIABLE}",
            404: f"expected the model {self._model!r} at this address: check both",
        }
        return advice.get(status, "expected an answer: check the address")

    def _reason(self, error: Exception) -> str:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(cause, TimeoutError):
            return f"no reply within {self._timeout:g} s"
        return self._quote(str(getattr(cause, "strerror", None) or cause))

    def _redact(self, text: str, min_length: int = MIN_SECRET) -> str:
        """Hide the key, which some servers repeat; a shorter one, such as `none`, is no secret."""
        return text.replace(self._key, "***") if len(self._key) >= min_length else text

    def _quote(self, text: str) -> str:
        """Return what a server says as one short, printable line without the key."""
        line = " ".join(self._redact(text, min_length=1).split())
        line = "".join(char if char.isprintable() else "?" for char in line)
        return line if len(line) <= MAX_QUOTE else f"{line[:MAX_QUOTE]}..."


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuses redirects, which would carry the key to another server and turn POST into GET."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _opener(url: str) -> urllib.request.OpenerDirector:
    if is_loopback(url):  # a proxy cannot reach a server on this machine
        return urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))
    return urllib.request.build_opener(_NoRedirect)


def check_url(url: str) -> str:
    """Return the protocol's base URL: without query and endpoint, with /v1 for a bare host.

    Raises:
        InputError: not an http(s) URL, or one with a user name or password; it is not shown.
    """
    try:
        parts = urlsplit(url.strip())
        is_usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable or not HOST.fullmatch(parts.netloc) or not url.strip().isprintable():
        # Not shown, because it may hold a password.
        raise InputError(
            f"got a malformed server URL, or one with a user name or password, expected one like "
            f"{DEFAULT_URL} (keys go into {KEY_VARIABLE}): fix it"
        )
    path = parts.path.rstrip("/").removesuffix("/chat/completions") or "/v1"
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def _read_until(response: http.client.HTTPResponse, deadline: float) -> bytes:
    """Read the body by a deadline; the socket's timeout starts anew with every byte."""
    body = bytearray()
    while chunk := response.read1(1 << 16):
        body += chunk
        if time.monotonic() > deadline:
            raise TimeoutError
        if len(body) > MAX_ANSWER:
            raise OSError(f"it sent more than {MAX_ANSWER >> 20} MiB")
    return bytes(body)


def _error_text(error: urllib.error.HTTPError) -> str:
    """Return the error message of `{"error": {"message": ...}}`, `{"error": ...}` or plain text."""
    try:
        body = error.read(1 << 16).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        return ""
    try:
        said = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "" if body.lstrip().startswith("<") else body
    return str(said.get("message", said) if isinstance(said, dict) else said)


def _seconds(retry_after: str | None) -> float:
    """Parse a `Retry-After` in seconds; a date counts as 0."""
    return float(retry_after) if retry_after and retry_after.isdecimal() else 0.0
