"""A server that sends bytes, not HTTP: as they are, drop by drop, or without end."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Script = Callable[[socket.socket], None]  # sends the answer to one request


def send(data: bytes) -> Script:
    return lambda connection: connection.sendall(data)


def drip(data: bytes, pause: float = 0.15) -> Script:
    """Send single bytes."""

    def script(connection: socket.socket) -> None:
        for byte in data:
            connection.sendall(bytes([byte]))
            time.sleep(pause)

    return script


def endless(first: bytes, chunk: bytes, pause: float = 0.0) -> Script:
    def script(connection: socket.socket) -> None:
        connection.sendall(first)
        while True:
            connection.sendall(chunk)
            time.sleep(pause)

    return script


def http(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


def chat(content: object, **choice: object) -> bytes:
    """The JSON of a chat answer with this content."""
    message = {"role": "assistant", "content": content}
    return json.dumps({"choices": [{"index": 0, "message": message, **choice}]}).encode()


@contextmanager
def raw_server(*scripts: Script) -> Iterator[str]:
    """Give the URL of a server that runs the scripts in order, the last one for all the rest."""
    left = list(scripts)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer(connection: socket.socket, script: Script) -> None:
            with connection, contextlib.suppress(OSError):
                connection.settimeout(5)
                received = b""
                while b"\r\n\r\n" not in received:
                    received += connection.recv(1 << 16)
                script(connection)

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                script = left.pop(0) if len(left) > 1 else left[0]
                threading.Thread(target=answer, args=(connection, script), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
