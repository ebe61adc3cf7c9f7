"""One HTTP exchange with limits for all of it: seconds from look-up to last byte, and bytes.

The standard library's timeouts start anew with every byte, and those of other clients (httpx,
requests, urllib3) do too. Here the exchange runs in a thread, and its connection is closed when the
time is up. huggingface_hub has moved between these clients, so none is certain to be installed.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
import urllib.request
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from .base import Check

MAX_BODY = 4 << 20  # bytes of an answer, also when unpacked; a chat answer has a few thousand
MAX_ERROR_BODY = 1 << 16  # bytes that are read of an answer with an error status
POLL_SECONDS = 0.1  # between two calls of the check
GZIP_OR_ZLIB = 47  # zlib's window bits for either format


@dataclass(frozen=True)
class HttpReply:
    """A complete answer of a server; `body` is unpacked."""

    status: int
    headers: Message
    body: bytes


def exchange(
    request: urllib.request.Request, timeout: float, check: Check, *, use_proxy: bool
) -> HttpReply:
    """Send a request and return the answer, whatever its status; redirects are not followed.

    Args:
        request: URL, headers and body.
        timeout: seconds for everything, also if the server sends byte by byte.
        check: called while waiting; any exception it raises ends the exchange.
        use_proxy: whether the environment's proxies are used.

    Raises:
        TimeoutError: the answer is not complete in time.
        OSError, http.client.HTTPException or ValueError: no connection, or no HTTP.
    """
    connections = _Connections()
    opener = urllib.request.build_opener(
        _AnyStatus,
        _Handler(connections),
        *([] if use_proxy else [urllib.request.ProxyHandler({})]),
    )
    outcome: SimpleQueue[HttpReply | Exception] = SimpleQueue()

    def work() -> None:
        try:
            with opener.open(request, timeout=timeout) as response:
                outcome.put(_read(response))
        except Exception as error:  # raised again in the thread that waits
            outcome.put(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        result = _wait(outcome, time.monotonic() + timeout, check)
    finally:
        connections.close()
    if isinstance(result, Exception):
        raise result
    return result


def _wait(
    outcome: SimpleQueue[HttpReply | Exception], deadline: float, check: Check
) -> HttpReply | Exception:
    while (left := deadline - time.monotonic()) > 0:
        try:
            return outcome.get(timeout=min(left, POLL_SECONDS))
        except Empty:
            check()
    raise TimeoutError


def _read(response: http.client.HTTPResponse) -> HttpReply:
    is_good = 200 <= response.status < 300
    limit = MAX_BODY if is_good else MAX_ERROR_BODY
    body = bytearray()
    while len(body) <= limit and (chunk := response.read1(1 << 16)):
        body += chunk
    unpacked = _unpack(bytes(body), response.headers.get("Content-Encoding", ""), limit)
    if len(unpacked) > limit and is_good:
        raise OSError(f"it sent more than {MAX_BODY >> 20} MiB")
    return HttpReply(response.status, response.headers, unpacked[:limit])


def _unpack(body: bytes, encoding: str, limit: int) -> bytes:
    """Return at most `limit + 1` bytes; some servers compress although nobody asks them to."""
    if encoding.strip().lower() not in ("gzip", "x-gzip", "deflate"):
        return body
    try:
        return zlib.decompressobj(GZIP_OR_ZLIB).decompress(body, limit + 1)
    except zlib.error as error:
        raise OSError(f"its compressed answer is damaged: {error}") from error


class _Connections:
    """The open connections of an exchange; closing one ends the wait for its next byte."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []
        self._is_closed = False

    def add(self, connection: socket.socket) -> None:
        self._sockets.append(connection)
        if self._is_closed:
            self.close()

    def close(self) -> None:
        self._is_closed = True
        for connection in self._sockets:
            with contextlib.suppress(OSError):  # closed already
                connection.shutdown(socket.SHUT_RDWR)


class _HTTPConnection(http.client.HTTPConnection):
    def __init__(self, add: Callable[[socket.socket], None], host: str, **options: Any) -> None:
        super().__init__(host, **options)
        self._add = add

    def connect(self) -> None:
        super().connect()
        self._add(self.sock)


class _HTTPSConnection(http.client.HTTPSConnection):
    def __init__(self, add: Callable[[socket.socket], None], host: str, **options: Any) -> None:
        super().__init__(host, **options)
        self._add = add

    def connect(self) -> None:
        super().connect()
        self._add(self.sock)


class _Handler(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    def __init__(self, connections: _Connections) -> None:
        super().__init__()
        self._connections = connections

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_HTTPConnection, self._connections.add), req)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_HTTPSConnection, self._connections.add), req)


class _AnyStatus(urllib.request.HTTPErrorProcessor):
    """Returns every answer as it is: a redirect would carry the key to another server."""

    def http_response(self, request: Any, response: Any) -> Any:
        return response

    https_response = http_response
