"""Client for servers with OpenAI's chat protocol: Ollama, llama.cpp, vLLM, LM Studio and others."""

from __future__ import annotations

import http.client
import json
import math
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from email.message import Message
from typing import Any, TypeVar

from ... import __version__
from ...errors import InputError, printable
from ...terminal import get_logger
from .address import DEFAULT_URL, check_url, endpoint, is_this_machine, without_query
from .api_key import HOSTS_VARIABLE, KEY_VARIABLE, check_key, hide_key
from .base import (
    MAX_ANSWER_TEXT,
    MAX_ANSWER_TOKENS,
    TEMPERATURE,
    Chat,
    Check,
    LongAnswerError,
    never_stop,
)
from .http import POLL_SECONDS, HttpReply, exchange
from .replies import (
    UNKNOWN_ERROR,
    error_text,
    fault_of,
    first_choice,
    parse,
    text_of,
    unstreamed,
)
from .request_form import RequestForm
from .server_errors import (
    MAX_WAIT,
    REFUSED,
    RequestRefusedError,
    ServerError,
    ServerUnavailableError,
    is_transient,
    retry_after_seconds,
)

logger = get_logger(__name__)
Result = TypeVar("Result")

MIN_SECRET = 8  # characters of a key, or of a part of it, that may not be shown
MAX_QUOTE = 200  # characters of a server's words in a message
SEEDS = 1 << 31  # some servers keep the seed as a signed integer of 32 bits


class ServerChat(Chat):
    """A model on a server.

    The key is sent to this server only, redirects are not followed, and no message, record, cache
    or answer holds it.

    Args:
        url: base URL of the protocol, such as `http://localhost:11434/v1`.
        model: name of the model on the server; None takes the only one.
        key: bearer token; None sends none. `api_key.key_for` decides who may get the user's key.
        timeout: seconds for one answer, from the look-up of the host to the last byte.
        attempts: maximum number of requests if the server does not answer or is overloaded.
        backoff: seconds before the second attempt; doubled before each further one.
        check: called before each attempt, and while waiting.

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
        self._base = check_url(url)
        self._url = without_query(self._base)  # for messages and metadata
        self._key = check_key(key or "")
        self._model = model
        self._timeout = timeout
        self._attempts = attempts
        self._backoff = backoff
        self._check = check
        self._form = RequestForm()

    @property
    def model(self) -> str:
        """Name of the model; asks the server for its only one if no name was given."""
        if self._model is None:
            self._model = self._only_model()
        return self._model

    @property
    def provenance(self) -> dict[str, Any]:
        """Source, URL (without a query, which may hold credentials) and model."""
        return {"source": self.source, "url": self._url, "model": self.model}

    def answer(self, system: str, question: str, seed: int) -> str:
        """Return the model's answer, of at most `MAX_ANSWER_TEXT` bytes.

        Raises:
            ServerUnavailableError: no answer after all attempts.
            RequestRefusedError: the server refuses this text.
            LongAnswerError: the answer is too long.
            ServerError: the server refused the request, or does not speak this protocol.
        """
        return self._answer_about(system, question, seed)

    def answer_about(self, system: str, question: str, images: Sequence[str], seed: int) -> str:
        """Return the model's answer about images, data URLs; raises as `answer` does."""
        pictures = [{"type": "image_url", "image_url": {"url": image}} for image in images]
        return self._answer_about(system, [*pictures, {"type": "text", "text": question}], seed)

    def _answer_about(self, system: str, content: str | list[dict[str, Any]], seed: int) -> str:
        request = {
            "model": self.model,
            "messages": [
                {"role": "system", "content": system},
                {"role": "user", "content": content},
            ],
            "temperature": TEMPERATURE,
            "max_tokens": MAX_ANSWER_TOKENS,
            "seed": seed % SEEDS,
            "stream": False,
        }
        text = self._redact(self._answer_to(request))
        size = len(text.encode())
        if size > MAX_ANSWER_TEXT:
            raise LongAnswerError(
                f"got an answer of {size / 1024:.0f} kB from {self._url}, expected a prompt of at "
                f"most {MAX_ANSWER_TEXT >> 10} kB: reword the text, or choose another model"
            )
        return text

    def _answer_to(self, request: dict[str, Any]) -> str:
        """Send a request, without the fields that the server has refused."""
        while True:
            sent = self._form.apply(request)
            try:
                return self._with_retries("/chat/completions", sent, self._text)
            except ServerError as error:
                refused = self._form.learn(sent, error.status, error.words)
                if not refused:
                    raise
                logger.warning("%s refuses %s: the request is adapted", self._url, refused)

    def _text(self, reply: dict[str, Any]) -> str:
        text = text_of(first_choice(reply))
        if text is not None:
            return text
        said = f"got an answer without text from {self._url}, expected OpenAI's chat format"
        advice = f"check the address ({self._quote(_dumped(reply))})"
        if "choices" not in reply:
            raise ServerError(f"{said}: {advice}")
        # A gateway whose own server failed sends no choices.
        raise self._unavailable(f"{said}: try again, or {advice}", UNKNOWN_ERROR)

    def _only_model(self) -> str:
        listed = self._with_retries("/models", None, lambda reply: reply.get("data"))
        entries = listed if isinstance(listed, list) else []
        ids = [entry.get("id") for entry in entries if isinstance(entry, dict)]
        names = [name for name in ids if isinstance(name, str) and name]
        if len(names) == 1:
            return self._redact(names[0])
        raise InputError(
            f"got no model, expected one of those on {self._url}: "
            f"{self._quote(', '.join(names)) or 'it lists none'}; choose one by its name"
        )

    def _with_retries(
        self, path: str, request: dict[str, Any] | None, read: Callable[[dict[str, Any]], Result]
    ) -> Result:
        """Send a request and read the answer; retry what may pass, with exponential backoff."""
        pause = self._backoff
        for _ in range(self._attempts - 1):
            try:
                return read(self._ask_once(path, request))
            except ServerUnavailableError as error:
                pause_now = max(pause, min(error.wait, MAX_WAIT))
                logger.info("trying again in %.0f s: %s", pause_now, error)
                self._sleep(pause_now)
                pause *= 2
        return read(self._ask_once(path, request))

    def _sleep(self, seconds: float) -> None:
        for _ in range(math.ceil(seconds / POLL_SECONDS)):
            self._check()
            time.sleep(min(seconds, POLL_SECONDS))

    def _ask_once(self, path: str, request: dict[str, Any] | None) -> dict[str, Any]:
        self._check()
        try:
            reply = self._exchange(path, request)
        except (OSError, http.client.HTTPException, ValueError) as error:
            # Without its cause: a traceback would show the status line, which may repeat the key.
            raise self._unavailable(
                f"got no answer from {self._url} ({self._reason(error)}), expected a language "
                "model's server: start it, or give its address"
            ) from None
        if not 200 <= reply.status < 300:
            words = error_text(reply.body)
            raise self._refusal(f"HTTP {reply.status}", reply.status, words, reply.headers)
        return self._parsed(reply)

    def _exchange(self, path: str, request: dict[str, Any] | None) -> HttpReply:
        headers = {"User-Agent": f"hummingbird/{__version__}", "Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        data = None if request is None else json.dumps(request).encode()
        message = urllib.request.Request(endpoint(self._base, path), data, headers)
        use_proxy = not is_this_machine(self._base)  # a proxy cannot reach this machine
        return exchange(message, self._timeout, self._check, use_proxy=use_proxy)

    def _parsed(self, reply: HttpReply) -> dict[str, Any]:
        values = unstreamed(reply.body) or parse(reply.body)
        if fault := fault_of(values):
            kind = f"error {fault.status}"
            raise self._refusal(kind, fault.status, fault.words, reply.headers)
        if isinstance(values, dict):
            return values
        if values is None and reply.body.lstrip().startswith(b"{"):
            raise self._unavailable(
                f"got a broken answer from {self._url}, expected JSON: try again"
            )
        raise ServerError(
            f"got '{self._quote(reply.body.decode('utf-8', 'replace'))}' from {self._url}, "
            "expected OpenAI's chat format: check the address, which often ends in /v1"
        )

    def _refusal(self, kind: str, status: int, words: str, headers: Message) -> ServerError:
        """Return the exception for an error status, in the header or the body, with advice."""
        said = self._quote(words)
        if 300 <= status < 400:
            said = self._quote(f"it points to {headers.get('Location')}")
        got = f"got {kind} from {self._url}" + (f" ({said})" if said else "")
        if is_transient(status):
            message = f"{got}, expected an answer: try again later"
            wait = retry_after_seconds(headers.get("Retry-After"))
            error: ServerError = self._unavailable(message, status, wait)
        elif status in REFUSED:
            error = RequestRefusedError(
                f"{got}, expected an answer: shorten or reword the text, or check --model"
            )
        else:
            error = ServerError(f"{got}, {self._advice(status)}")
        error.status, error.words = status, self._redact_parts(words)
        return error

    def _unavailable(
        self, message: str, status: int = 0, wait: float = 0.0
    ) -> ServerUnavailableError:
        error = ServerUnavailableError(message)
        error.status, error.wait = status, wait
        return error

    def _advice(self, status: int) -> str:
        if status in (401, 403) and not self._key:
            return (
                f"expected a key, none was sent: set {KEY_VARIABLE}, and if a workflow chose the "
                f"address, list its host in {HOSTS_VARIABLE}"
            )
        advice = {
            401: f"expected a valid key: set {KEY_VARIABLE}",
            402: "expected an account with credit: check it",
            403: f"expected a key with access to the model: check {KEY_VARIABLE}",
            404: f"expected the model {self._model!r} at this address: check both",
        }
        return advice.get(status, "expected an answer: check the address")

    def _reason(self, error: Exception) -> str:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(cause, TimeoutError):
            return f"no reply within {self._timeout:g} s"
        return self._quote(str(getattr(cause, "strerror", None) or cause))

    def _redact(self, text: str) -> str:
        """Hide the key, which some servers repeat; a short one, such as `none`, is no secret."""
        return hide_key(text, self._key) if len(self._key) >= MIN_SECRET else text

    def _redact_parts(self, text: str) -> str:
        """Hide the key and long parts of it: some servers repeat it cut, or partly masked."""
        return hide_key(text, self._key, part=MIN_SECRET) if self._key else text

    def _quote(self, text: str) -> str:
        """Return what a server says as one short, printable line without the key."""
        line = " ".join(self._redact_parts(text).split())
        return printable(line if len(line) <= MAX_QUOTE else f"{line[:MAX_QUOTE]}...")


def _dumped(reply: dict[str, Any]) -> str:
    try:
        return json.dumps(reply)
    except RecursionError:
        return "deeply nested JSON"
