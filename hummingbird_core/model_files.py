"""From the name of a model to its file. Nothing is downloaded here."""

from __future__ import annotations

import re
from pathlib import Path

from .errors import CheckpointError
from .files import ASSETS

BUILT_IN = {
    "nano": "hummingbird-nano.safetensors",
    "nano-teacher": "nano-teacher.safetensors",
}
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def find_model(name_or_path: str | Path) -> Path:
    """The checkpoint file or folder that a name stands for.

    Args:
        name_or_path: "nano", "nano-teacher", a file, a folder, or a hub id ("owner/name") whose
            repository is in the hub's local cache.

    Raises:
        CheckpointError: there is nothing by this name on this computer.
    """
    name = str(name_or_path)
    if name in BUILT_IN:
        return ASSETS / "nano" / BUILT_IN[name]
    path = Path(name_or_path)
    if path.exists():
        return path
    cached = in_hub_cache(name) if HUB_ID.fullmatch(name) else None
    if cached:
        return cached
    raise CheckpointError(
        f"got model {name!r}, expected 'nano', a checkpoint file or a folder: "
        "check the path, or get one with `hummingbird download`"
    )


def in_hub_cache(hub_id: str) -> Path | None:
    """The folder of a hub id ("owner/name") in the hub's local cache; None if it is not there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_id, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, HfHubHTTPError):
        return None
