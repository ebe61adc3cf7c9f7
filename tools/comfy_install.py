"""Find the ComfyUI that the tests of the nodes run against, and install the pack into it."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACK = ("__init__.py", "nodes", "hummingbird_core", "web", "locales", "workflows", "subgraphs")
PACK += ("pyproject.toml",)
NEEDED = ("torchsde", "aiohttp", "av", "alembic")  # in every ComfyUI, not in our own environment


def comfyui_path() -> Path | None:
    """Return COMFYUI_PATH, comfy-cli's default place, or what tools/setup_comfyui.py installed."""
    places = (os.environ.get("COMFYUI_PATH"), "~/comfy/ComfyUI", ROOT / ".comfyui" / "ComfyUI")
    candidates = [Path(place).expanduser().resolve() for place in places if place]
    return next((path for path in candidates if (path / "main.py").is_file()), None)


def reason_to_skip() -> str | None:
    """Return why these tests can't run and the remedy, or None if they can."""
    if comfyui_path() is None:
        return "no ComfyUI found: run tools/setup_comfyui.py, or set COMFYUI_PATH"
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        return (
            f"this Python lacks ComfyUI's packages ({', '.join(missing)}): run "
            "`.comfyui/venv/bin/python -m pytest tests/comfy`, or the Python of your ComfyUI"
        )
    return None


def left_out_of_the_pack() -> dict[str, set[Path]]:
    """Return the files and folders that each line of `.comfyignore` matches."""
    lines = (ROOT / ".comfyignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    return {pattern: set(ROOT.glob(pattern.rstrip("/"))) for pattern in patterns}


def install_pack(folder: Path) -> None:
    """Copy the pack as it is published, without what `.comfyignore` names, to a new folder."""
    left_out = set().union(*left_out_of_the_pack().values())

    def ignored(parent: str, names: list[str]) -> set[str]:
        return {name for name in names if name == "__pycache__" or Path(parent, name) in left_out}

    folder.mkdir(parents=True)
    for name in PACK:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder / name)
