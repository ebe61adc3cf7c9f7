"""Check that installing the ComfyUI pack moves no package of its host.

    python3 tools/check_host_packages.py             table on standard output
    python3 tools/check_host_packages.py --json PATH and the result as JSON

Makes one fresh virtual environment for each version of transformers that a ComfyUI may have, with
the huggingface_hub that pip chooses for it, and asks `pip install --dry-run` what installing
requirements.txt would do there. torch is left out to keep it light, and nothing may ask for it.
Needs a package index; standard library only.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TRANSFORMERS = ("4.50.3", "4.57.6", "5.23.0")
# What ComfyUI 0.3.64 to 0.30.0 installs besides, without what needs torch.
ALSO_IN_COMFYUI = (
    *("numpy", "einops", "tokenizers", "sentencepiece", "safetensors", "aiohttp", "yarl", "pyyaml"),
    *("Pillow", "scipy", "tqdm", "psutil", "av", "requests", "filelock", "SQLAlchemy", "alembic"),
)
NEVER_INSTALLED = {"torch", "torchvision", "torchaudio"}


def main() -> int:
    """Check every host; 1 if a package would move."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requirements", type=Path, default=ROOT / "requirements.txt")
    parser.add_argument("--json", type=Path, help="file to write the result to")
    parser.add_argument("--transformers", nargs="+", default=TRANSFORMERS, metavar="VERSION")
    args = parser.parse_args()
    results = [check_host(version, args.requirements) for version in args.transformers]
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(table(results))
    return int(any(result["moved"] for result in results))


def check_host(transformers: str, requirements: Path) -> dict[str, Any]:
    """Return what installing `requirements` adds to, and moves in, a host with `transformers`.

    Keys: python, transformers, huggingface_hub, added, moved (lists of "name version").
    """
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder, "Scripts/python.exe" if os.name == "nt" else "bin/python")
        _run(sys.executable, "-m", "venv", folder)
        _pip(python, "install", "-q", f"transformers=={transformers}", *ALSO_IN_COMFYUI)
        host = {_name(item): item["version"] for item in _installed(python)}
        planned = _planned(python, requirements)
    present = NEVER_INSTALLED | host.keys()
    return {
        "python": sys.version.split()[0],
        "transformers": host["transformers"],
        "huggingface_hub": host["huggingface-hub"],
        "added": [f"{name} {planned[name]}" for name in sorted(planned.keys() - present)],
        "moved": [
            f"{name} {host.get(name, '(not installed)')} -> {planned[name]}"
            for name in sorted(planned.keys() & present)
        ],
    }


def table(results: list[dict[str, Any]]) -> str:
    """Return the results as a Markdown table."""
    lines = ["| transformers | huggingface_hub | added | moved |", "|---|---|---|---|"]
    for found in results:
        added, moved = (", ".join(found[key]) or "nothing" for key in ("added", "moved"))
        lines.append(
            f"| {found['transformers']} | {found['huggingface_hub']} | {added} | {moved} |"
        )
    return "\n".join(lines) + "\n"


def _planned(python: Path, requirements: Path) -> dict[str, str]:
    """Return the versions that pip would install, by name."""
    report = python.parent / "report.json"
    _pip(python, "install", "-q", "--dry-run", "--report", str(report), "-r", str(requirements))
    items = [item["metadata"] for item in json.loads(report.read_text("utf-8"))["install"]]
    return {_name(item): item["version"] for item in items}


def _installed(python: Path) -> list[dict[str, str]]:
    return json.loads(_pip(python, "list", "--format", "json"))


def _name(item: dict[str, str]) -> str:
    """Return the normalized name of a package (PEP 503, as far as ComfyUI's packages need it)."""
    return item["name"].lower().replace("_", "-").replace(".", "-")


def _pip(python: Path, *arguments: str) -> str:
    options = ("--disable-pip-version-check", "--no-input")
    return _run(str(python), "-m", "pip", *options, *arguments)


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
