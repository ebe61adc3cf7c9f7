"""A small server that speaks OpenAI's chat protocol over real HTTP, and fails as told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """One HTTP answer, and how it goes wrong.

    Args:
        delay: seconds before anything is sent.
        drip: seconds between single bytes of the body.
        cut: bytes of the body to leave out, although the length says otherwise.
    """

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drip: float = 0.0
    cut: int = 0


def says(text: str | None, **how: Any) -> Reply:
    """A good answer of a language model."""
    message = {"role": "assistant", "content": text}
    return Reply(json.dumps({"choices": [{"index": 0, "message": message}]}).encode(), **how)


def fails(status: int, message: str = "", **how: Any) -> Reply:
    """An error as OpenAI words it."""
    return Reply(json.dumps({"error": {"message": message}}).encode(), status, **how)


class ChatServer(ThreadingHTTPServer):
    """Sends `replies` in order, the last one again and again; keeps the requests.

    Questions that hold a key of `special` get the reply there; `answer_to` may decide by the whole
    request.
    """

    def __init__(self, replies: list[Reply], models: tuple[str, ...] = ("tiny",)):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.replies, self.models = replies, models
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.special: dict[str, Reply] = {}
        self.answer_to: Callable[[dict[str, Any]], Reply] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    @property
    def questions(self) -> list[str]:
        return [request["messages"][-1]["content"] for request in self.requests]

    def handle_error(self, *_):
        pass  # a client that hangs up early is part of the tests


class _Handler(BaseHTTPRequestHandler):
    server: ChatServer

    def do_GET(self):
        listed = {"data": [{"id": name} for name in self.server.models]}
        known = self.path == "/v1/models"
        self._send(Reply(json.dumps(listed).encode()) if known else fails(404, "no such page"))

    def do_POST(self):
        if self.path != "/v1/chat/completions":
            self._send(fails(404, "no such page"))
            return
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = json.loads(body)
        self.server.requests.append(request)
        self.server.keys.append(self.headers.get("Authorization"))
        if self.server.answer_to:
            self._send(self.server.answer_to(request))
            return
        question = request["messages"][-1]["content"]
        special = [reply for text, reply in self.server.special.items() if text in question]
        if special:
            self._send(special[0])
            return
        replies = self.server.replies
        self._send(replies.pop(0) if len(replies) > 1 else replies[0])

    def _send(self, reply: Reply):
        time.sleep(reply.delay)
        self.send_response(reply.status)
        self.send_header("Content-Length", str(len(reply.body)))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        body = reply.body[: len(reply.body) - reply.cut]
        step = 1 if reply.drip else len(body)
        for start in range(0, len(body), max(step, 1)):
            self.wfile.write(body[start : start + step])
            time.sleep(reply.drip)

    def log_message(self, *_):
        pass


@contextmanager
def chat_server(*replies: Reply, models: tuple[str, ...] = ("tiny",)) -> Iterator[ChatServer]:
    """A running server; give at least one reply."""
    server = ChatServer(list(replies), models)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
