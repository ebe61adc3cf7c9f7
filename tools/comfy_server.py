"""A real ComfyUI server with this pack, driven over HTTP as the front end drives it."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
from comfy_install import install_pack
from PIL import Image
from workflow_graphs import Graph

START_SECONDS, RUN_SECONDS = 600, 600  # on a busy machine
ENDS = {"execution_success", "execution_error", "execution_interrupted"}


class PromptError(Exception):
    """Error of a graph that the server refused or a node raised in; holds its message."""


class ComfyServer:
    """A server process with a new base folder; use it in a `with` block."""

    def __init__(self, comfyui: Path, folder: Path):
        self.comfyui, self.folder = comfyui, folder
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "server.log"
        install_pack(folder / "custom_nodes" / "hummingbird")

    def __enter__(self) -> ComfyServer:
        options = (
            f"--cpu --port {self.port} --listen 127.0.0.1 --disable-api-nodes "
            "--database-url sqlite:///:memory: --preview-method latent2rgb"
        )
        command = [sys.executable, str(self.comfyui / "main.py"), *options.split()]
        command += ["--base-directory", str(self.folder)]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, cwd=self.comfyui, stdout=log, stderr=log, env=dict(os.environ)
            )
        self._wait_until_up()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(timeout=60)

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                self.get("/queue")
                return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.5)
        raise RuntimeError(f"the server did not start:\n{self.log.read_text()[-3000:]}")

    def get(self, path: str) -> Any:
        """Return the JSON answer to a GET."""
        return json.loads(self.read(path))

    def read(self, path: str) -> bytes:
        """Return the body of the answer to a GET."""
        with urllib.request.urlopen(f"{self.url}{path}", timeout=60) as reply:
            return reply.read()

    def post(self, path: str, body: Any = None) -> Any:
        """Post JSON and return the JSON answer, None if it is empty."""
        data = json.dumps(body or {}).encode()
        request = urllib.request.Request(f"{self.url}{path}", data)
        with urllib.request.urlopen(request, timeout=60) as reply:
            text = reply.read()
        return json.loads(text) if text else None

    @functools.cached_property
    def node_infos(self) -> dict[str, Any]:
        """Descriptions of all nodes, by their ids."""
        return self.get("/object_info")

    def queue(self, graph: Graph, client_id: str = "") -> str:
        """Queue a graph for a page and return its id."""
        prompt = {name: self._with_defaults(node) for name, node in graph.items()}
        try:
            return self.post("/prompt", {"prompt": prompt, "client_id": client_id})["prompt_id"]
        except urllib.error.HTTPError as error:
            raise PromptError(error.read().decode()) from error

    def _with_defaults(self, node: dict[str, Any]) -> dict[str, Any]:
        """Add the defaults of inputs that are not set, as the front end does.

        Newer releases give their nodes more of them.
        """
        required = self.node_infos[node["class_type"]]["input"].get("required", {})
        defaults = {
            name: spec[1]["default"]
            for name, spec in required.items()
            if len(spec) > 1 and "default" in spec[1]
        }
        return {**node, "inputs": {**defaults, **node["inputs"]}}

    def wait(self, prompt_id: str) -> dict[str, Any]:
        """Return the history of a finished graph: `outputs` by node, and `status`."""
        deadline = time.monotonic() + RUN_SECONDS
        while time.monotonic() < deadline:
            history = self.get(f"/history/{prompt_id}")
            if prompt_id in history:
                return history[prompt_id]
            time.sleep(0.1)
        raise TimeoutError(f"the graph did not finish in {RUN_SECONDS} s")

    def run(self, graph: Graph) -> dict[str, Any]:
        """Run a graph and return its outputs by node.

        Raises:
            PromptError: a node raised.
        """
        entry = self.wait(self.queue(graph))
        errors = [m[1] for m in entry["status"]["messages"] if m[0] == "execution_error"]
        if errors:
            raise PromptError(f"{errors[0]['node_type']}: {errors[0]['exception_message']}")
        return entry["outputs"]

    def run_and_listen(self, graph: Graph, kind: str) -> list[Any]:
        """Run a graph and return the data of all events of one kind."""
        return asyncio.run(self._listen(graph, kind))

    async def _listen(self, graph: Graph, kind: str) -> list[Any]:
        import aiohttp

        page, told = "page", []
        address = f"{self.url}/ws?clientId={page}"
        async with aiohttp.ClientSession() as session, session.ws_connect(address) as socket:
            await asyncio.to_thread(self.queue, graph, page)
            async for message in socket:
                event = message.json() if message.type is aiohttp.WSMsgType.TEXT else {}
                if event.get("type") == kind:
                    told.append(event["data"])
                if event.get("type") in ENDS:
                    break
        return told

    def output_files(self, outputs: dict[str, Any], node: str) -> list[Path]:
        """Return the files that an output node wrote."""
        files = outputs[node]["images"]
        return [self.folder / f["type"] / f["subfolder"] / f["filename"] for f in files]

    def frames(self, outputs: dict[str, Any], node: str = "save") -> np.ndarray:
        """Return the images that an output node wrote: uint8 `[N, H, W, 3]`."""
        return read_frames(self.output_files(outputs, node))

    def resident_bytes(self) -> int:
        """Return the resident memory of the server process."""
        import psutil

        return psutil.Process(self.process.pid).memory_info().rss


def read_frames(files: list[Path]) -> np.ndarray:
    """Read image files as uint8 `[N, H, W, 3]`."""
    return np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
