"""Make the virtual environment of this repository and install the package into it.

    python3 tools/setup_env.py                 what `make demo` needs
    python3 tools/setup_env.py --extra dev     what `make test` needs, too
    python3 tools/setup_env.py --runtime onnx --target DIR     without PyTorch, for small devices

Standard library only, any system, Python 3.10 or newer. Running it again does nothing unless
pyproject.toml, constraints.txt or the wanted extras have changed. Package indexes are those of pip:
PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, pip.conf ...
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST_PYTHON = (3, 10)
RUNTIMES = ("onnx", "openvino")
# Installed without their dependencies: tokenizers needs its own only for downloads.
ALONE = ("tokenizers",)
STAMP = "hummingbird-setup.json"


class SetupError(Exception):
    """A reason why the setup stopped and what to do about it, in one line."""


def main() -> int:
    """Parse the arguments, bring the environment up to date; 2 with one line if that fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", type=Path, default=ROOT / ".venv", help="default: .venv")
    parser.add_argument("--extra", action="append", default=[], help="an extra of pyproject.toml")
    parser.add_argument(
        "--runtime",
        choices=RUNTIMES,
        help="make a small environment that runs exported models only; needs --target",
    )
    args = parser.parse_args()
    try:
        if args.runtime:
            make_runtime(args.target, args.runtime, set(args.extra))
        else:
            update(args.target, set(args.extra))
    except SetupError as error:
        sys.stderr.write(f"setup: error: {error}\n")
        return 2
    return 0


def update(target: Path, extras: set[str]) -> None:
    """Install into the environment `target`, which is made first, unless it is up to date."""
    _check_python()
    stamp = target / STAMP
    installed = _read_stamp(stamp)
    if installed is not None and extras <= installed:
        return
    python = _python(target)
    if not _has_pip(python):
        make_environment(target, python)
    extras |= installed or set()
    _install(python, extras)
    stamp.write_text(json.dumps({"sources": _fingerprint(), "extras": sorted(extras)}))


def make_runtime(target: Path, runtime: str, extras: set[str]) -> None:
    """Make an environment without PyTorch and pip, for `hummingbird generate --runtime`."""
    if extras or target == ROOT / ".venv":
        raise SetupError("--runtime makes a separate environment: give --target, and no --extra")
    stamp = target / STAMP
    if _read_stamp(stamp) == {runtime}:
        return
    _check_python()
    if target.exists() and not stamp.exists():
        raise SetupError(f"{target} exists and was not made by this tool: choose another --target")
    python = _python(target)
    make_environment(target, python)
    # Files compiled ahead would take 40 MB, most of them for modules that nobody imports.
    install = (python, "-m", "pip", "install", "--no-compile", "-c", ROOT / "constraints.txt")
    for what in (
        ("-r", ROOT / f"requirements-{runtime}.txt"),
        ("--no-deps", *ALONE, "-e", ROOT),
    ):
        if _call_status(*install, *what):
            raise SetupError("pip could not install the packages; its own lines above say why")
    _call(python, "-m", "pip", "uninstall", "-y", "setuptools", "pip")
    stamp.write_text(json.dumps({"sources": _fingerprint(), "extras": [runtime]}))


def make_environment(target: Path, python: Path) -> None:
    """A virtual environment with pip, by the first way that works on this system.

    Debian and Ubuntu ship Python without ensurepip, so that the ordinary way fails there.
    """
    ways = (_ordinary_venv, _venv_with_the_pip_that_is_here, _venv_after_apt)
    reasons = []
    for way in ways:
        shutil.rmtree(target, ignore_errors=True)  # a failed attempt leaves a part
        try:
            way(target, python)
        except SetupError as error:
            reasons.append(str(error))
            continue
        if _has_pip(python):
            return
        reasons.append("the new environment has no pip")
    raise SetupError(
        f"cannot make {target} ({'; '.join(dict.fromkeys(reasons))}): "
        "install the venv module of your Python, on Debian `apt install python3-venv`"
    )


def _check_python() -> None:
    if sys.version_info < OLDEST_PYTHON:
        raise SetupError(
            f"this is Python {sys.version.split()[0]}, expected 3.10 or newer: "
            "install one and call it by its name, as in `make demo PYTHON=python3.12`"
        )


def _ordinary_venv(target: Path, python: Path) -> None:
    _call(sys.executable, "-m", "venv", target)


def _venv_with_the_pip_that_is_here(target: Path, python: Path) -> None:
    _call(sys.executable, "-m", "venv", "--without-pip", target)
    _call(sys.executable, "-m", "pip", "--python", python, "install", "pip")


def _venv_after_apt(target: Path, python: Path) -> None:
    apt_install("python3-venv")
    _ordinary_venv(target, python)


def apt_install(package: str) -> None:
    """A package of Debian or one of its relatives.

    Raises:
        SetupError: this is another system, or its user may not install packages.
    """
    if not shutil.which("apt-get"):
        raise SetupError("there is no apt-get")
    for command in (["update"], ["install", "-y", "--no-install-recommends", package]):
        _call(*_as_root(), "apt-get", *command)


def _as_root() -> list[str]:
    """Nothing for root, else sudo, which asks for a password only if someone is there."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return []
    return ["sudo"] if sys.stdin.isatty() else ["sudo", "-n"]


def _install(python: Path, extras: set[str]) -> None:
    package = f"{ROOT}[{','.join(sorted(extras))}]" if extras else str(ROOT)
    constraints = ROOT / "constraints.txt"
    if _call_status(python, "-m", "pip", "install", "-c", constraints, "-e", package):
        raise SetupError("pip could not install the package; its own lines above say why")


def _call(*command: str | Path) -> None:
    try:
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    except OSError as error:
        raise SetupError(str(error)) from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        said = lines[-1] if lines else f"exit code {done.returncode}"
        raise SetupError(f"`{Path(command[0]).name} {' '.join(map(str, command[1:3]))}`: {said}")


def _call_status(*command: str | Path) -> int:
    """Run a command whose output the user wants to see."""
    return subprocess.run(list(map(str, command)), check=False).returncode


def _python(target: Path) -> Path:
    return target / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _has_pip(python: Path) -> bool:
    if not python.exists():
        return False
    command = [str(python), "-m", "pip", "--version"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _fingerprint() -> str:
    names = ("pyproject.toml", "constraints.txt", *(f"requirements-{r}.txt" for r in RUNTIMES))
    sources = [(ROOT / name).read_bytes() for name in names]
    return hashlib.sha256(b"\0".join(sources)).hexdigest()


def _read_stamp(stamp: Path) -> set[str] | None:
    """The installed extras, or None when something has to be installed."""
    try:
        found = json.loads(stamp.read_text())
    except (OSError, ValueError):
        return None
    return set(found["extras"]) if found["sources"] == _fingerprint() else None


if __name__ == "__main__":
    sys.exit(main())
