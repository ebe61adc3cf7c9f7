"""A real server on this machine that speaks the hub's protocol, and breaks off as told."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FILE = "/amd/AMD-Hummingbird-T2V/resolve/{}/07B_merged_all.pt"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Serves one file; `break_at` cuts the next transfer off there and then goes out of service."""

    def __init__(self, content: bytes):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content, self.sha256 = content, hashlib.sha256(content).hexdigest()
        self.break_at, self.is_down = 0, False
        self.ranges: list[str | None] = []  # of every GET

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self):
        self._send_headers(self.server.content)

    def do_GET(self):
        requested = self.headers.get("Range")
        self.server.ranges.append(requested)
        start = int(requested.removeprefix("bytes=").rstrip("-")) if requested else 0
        self._send_headers(self.server.content[start:], start)
        if self.server.break_at:
            self.wfile.write(self.server.content[start : self.server.break_at])
            self.server.break_at, self.server.is_down = 0, True
            self.close_connection = True
        elif not self.server.is_down:
            self.wfile.write(self.server.content[start:])

    def _send_headers(self, body: bytes, start: int = 0):
        if self.path not in (FILE.format("main"), FILE.format(COMMIT)):
            self.send_error(404)
            return
        if self.server.is_down:
            self.send_error(503)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        if start:
            end = len(self.server.content) - 1
            self.send_header("Content-Range", f"bytes {start}-{end}/{len(self.server.content)}")
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{self.server.sha256}"')
        self.end_headers()

    def log_message(self, *_):
        pass


@contextmanager
def running_hub(content: bytes) -> Iterator[Hub]:
    """A hub that serves `content` as the 0.7B checkpoint."""
    server = Hub(content)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
