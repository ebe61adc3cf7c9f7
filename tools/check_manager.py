"""Install, update, disable, enable and uninstall the pack with ComfyUI-Manager, and record it.

    python3 tools/setup_comfyui.py --target FOLDER      an environment for this alone: it changes
    FOLDER/venv/bin/python -m pip install comfyui-manager
    FOLDER/venv/bin/python tools/check_manager.py --json PATH
    FOLDER/venv/bin/python tools/check_manager.py --custom-node ComfyUI-Manager --json PATH

The second checks the older Manager, which is a custom node: a clone of its repository, of which the
requirements are installed.

The pack comes from a git repository that this file makes and serves on this computer, since
Manager installs by address. After each step it records whether a server has the nodes, and at
the end, which packages of the host have moved. Exit status 1 if a step had another effect than
its name.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

from comfy_install import comfyui_path, install_pack

NAME = "hummingbird"
NODE = "HummingbirdLoad"
CONFIG = "[default]\nallow_git_url_install = True\nnetwork_mode = offline\n"
DATABASE = "sqlite:///:memory:"
SECONDS = 900  # for each step, on a busy machine
OF_THE_PACK = ("ftfy", "wcwidth")  # removed at the start, so that Manager installs them
# What a server has after each step.
STEPS = {"install": True, "update": True, "disable": False, "enable": True, "uninstall": False}


def main() -> int:
    """Run all steps; 1 if one failed or a package of the host moved."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="file to write the record to")
    parser.add_argument(
        "--custom-node", type=Path, metavar="FOLDER", help="a clone of the Manager that is a node"
    )
    args = parser.parse_args()
    manager = CustomNode(args.custom_node) if args.custom_node else Package()
    _run(sys.executable, "-m", "pip", "uninstall", "-y", *OF_THE_PACK)
    with tempfile.TemporaryDirectory() as folder:
        record = run_steps(Path(folder), manager)
    text = json.dumps(record, indent=2) + "\n"
    if args.json:
        args.json.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    as_expected = all(step["has_nodes"] == STEPS[step["step"]] for step in record["steps"])
    return int(bool(record["moved"]) or not as_expected or len(record["steps"]) < len(STEPS))


class Package:
    """The Manager that is a package (`comfyui-manager`), which ComfyUI's option enables."""

    options = ("--enable-manager",)

    @property
    def version(self) -> str:
        """Return the installed version."""
        return version("comfyui-manager")

    def install(self, comfyui: Path) -> None:
        """Add nothing to a copy of ComfyUI."""

    def command(self, comfyui: Path) -> list[str]:
        """Return the start of a command line."""
        return [sys.executable, "-m", "cm_cli"]


class CustomNode:
    """The Manager that is a custom node, from a clone of its repository."""

    options = ()

    def __init__(self, source: Path):
        self.source = source
        _run(sys.executable, "-m", "pip", "install", "-r", str(source / "requirements.txt"))

    @property
    def version(self) -> str:
        """Return the version that the clone states."""
        text = (self.source / "pyproject.toml").read_text(encoding="utf-8")
        return re.findall(r'^version = "(.+)"', text, re.MULTILINE)[0]

    def install(self, comfyui: Path) -> None:
        """Copy the clone into the custom nodes of a copy of ComfyUI."""
        shutil.copytree(self.source, self._folder(comfyui))

    def command(self, comfyui: Path) -> list[str]:
        """Return the start of a command line."""
        return [sys.executable, str(self._folder(comfyui) / "cm-cli.py")]

    def _folder(self, comfyui: Path) -> Path:
        return comfyui / "custom_nodes" / "ComfyUI-Manager"


def run_steps(folder: Path, manager: Package | CustomNode) -> dict[str, Any]:
    """Return the record of all steps, in a copy of ComfyUI below `folder`."""
    comfyui = folder / "ComfyUI"
    shutil.copytree(comfyui_path(), comfyui, ignore=shutil.ignore_patterns(".git", "__pycache__"))
    manager.install(comfyui)
    config = comfyui / "user" / "__manager" / "config.ini"
    config.parent.mkdir(parents=True)
    config.write_text(CONFIG)
    before = _packages()
    with _served(folder / "www") as address:
        remote = Remote(folder, address)
        steps = []
        for step in STEPS:
            if step == "update":
                remote.publish("a second version")
            target = remote.url if step == "install" else NAME
            steps.append(_step(step, target, comfyui, manager))
    after = _packages()
    return {
        "comfyui": re.findall(r'"(.+)"', (comfyui / "comfyui_version.py").read_text())[0],
        "comfyui-manager": manager.version,
        "python": sys.version.split()[0],
        "steps": steps,
        "added": [f"{name} {after[name]}" for name in sorted(after.keys() - before.keys())],
        "moved": [
            f"{name} {before[name]} -> {after.get(name, '(removed)')}"
            for name in sorted(before)
            if after.get(name) != before[name]
        ],
    }


class Remote:
    """A bare repository of the pack, as published, that a web server shows."""

    def __init__(self, folder: Path, address: str):
        self.source, self.bare = folder / "source", folder / "www" / f"{NAME}.git"
        self.url = f"{address}/{NAME}.git"
        install_pack(self.source)
        shutil.copy(Path(__file__).parent.parent / "requirements.txt", self.source)
        self._git("init", "-q", "-b", "main")
        _run("git", "init", "-q", "--bare", "-b", "main", str(self.bare))
        self.publish("the first version")

    def publish(self, message: str) -> None:
        """Commit and push a change."""
        (self.source / "VERSION.txt").write_text(message)
        self._git("add", "-A")
        who = ("-c", "user.name=A", "-c", "user.email=a@example.invalid")
        self._git(*who, "commit", "-q", "-m", message)
        self._git("push", "-q", str(self.bare), "main")
        _run("git", "-C", str(self.bare), "update-server-info")  # for plain HTTP

    def _git(self, *arguments: str) -> None:
        _run("git", "-C", str(self.source), *arguments)


def _step(step: str, target: str, comfyui: Path, manager: Package | CustomNode) -> dict[str, Any]:
    """Run one command of Manager and return what it did."""
    environment = {**os.environ, "COMFYUI_PATH": str(comfyui)}
    command = [*manager.command(comfyui), step, target, "--mode", "local"]
    done = subprocess.run(
        command, env=environment, cwd=comfyui, capture_output=True, text=True, timeout=SECONDS
    )
    place = comfyui / "custom_nodes" / NAME / "VERSION.txt"
    return {
        "step": step,
        "exit_status": done.returncode,
        "says": _said(done.stdout),
        "version": place.read_text() if place.is_file() else None,
        **_what_a_server_has(comfyui, manager),
    }


def _said(output: str) -> list[str]:
    """Return the lines in which Manager says what it did."""
    plain = re.sub(r"\x1b\[[\d;]*\w", "", output)
    lines = [" ".join(line.split()) for line in re.split(r"[\r\n]+", plain)]
    return [
        re.sub(r"127\.0\.0\.1:\d+", "SERVER", line)
        for line in lines
        if f" {NAME}" in line
        or re.search(r"INSTALLED|UPDATED|DISABLED|ENABLED|ERROR|FAIL|SKIP", line)
    ]


def _what_a_server_has(comfyui: Path, manager: Package | CustomNode) -> dict[str, Any]:
    """Start ComfyUI with Manager, and return whether it has our nodes, and lines about failures."""
    port = _free_port()
    log = comfyui / "server.log"
    options = f"--cpu --port {port} --listen 127.0.0.1 --disable-api-nodes --database-url"
    command = [sys.executable, "main.py", *manager.options, *options.split(), DATABASE]
    with log.open("w") as output:
        server = subprocess.Popen(command, cwd=comfyui, stdout=output, stderr=output)
    try:
        info = _answer(f"http://127.0.0.1:{port}/object_info/{NODE}", server)
    except RuntimeError as error:
        raise RuntimeError(f"{error}:\n{log.read_text()[-3000:]}") from error
    finally:
        server.terminate()
        server.wait(timeout=60)
    failures = [line for line in log.read_text().splitlines() if NAME in line and "FAILED" in line]
    return {"has_nodes": NODE in info, "failures": failures}


def _answer(url: str, server: subprocess.Popen[bytes]) -> dict[str, Any]:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=60) as reply:
                return json.load(reply)
        except OSError:
            time.sleep(1)
    raise RuntimeError("the server did not start")


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Write no line for a request."""


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    """Show the files of a new folder on this computer; yield the address."""
    folder.mkdir()
    handler = functools.partial(_QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def _packages() -> dict[str, str]:
    return {each.metadata["Name"].lower(): each.version for each in distributions()}


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _run(*command: str) -> None:
    subprocess.run(command, check=True, timeout=SECONDS)


if __name__ == "__main__":
    sys.exit(main())
