"""From the name of a model to its file. Nothing is downloaded here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, first_line
from ..files import ASSETS

BUILT_IN_MODELS = {
    "nano": "hummingbird-nano.safetensors",
    "nano-teacher": "nano-teacher.safetensors",
}
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def resolve_model(name_or_path: str | Path) -> Path:
    """The checkpoint file or folder that a name stands for.

    Args:
        name_or_path: "nano", "nano-teacher", a file, a folder, or a hub id ("owner/name") whose
            repository is in the hub's local cache.

    Raises:
        CheckpointError: there is nothing by this name on this computer.
    """
    name = str(name_or_path)
    if name in BUILT_IN_MODELS:
        return ASSETS / "nano" / BUILT_IN_MODELS[name]
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


def from_pretrained_offline(loader: Any, name: str, kind: str, **options: Any) -> Any:
    """`loader.from_pretrained(name)`, of a folder or of a hub id that was downloaded before.

    Args:
        loader: class of a model, tokenizer or processor.
        name: folder or hub id.
        kind: what it is used as, for the error.
        **options: further ones of `from_pretrained`.

    Raises:
        CheckpointError: it is not there, or damaged.
    """
    from safetensors import SafetensorError

    # As a folder: of a hub id, `AutoModel` asks the network for an adapter in any case.
    folder = Path(name) if Path(name).exists() else in_hub_cache(name)
    if folder is None:
        raise CheckpointError(_absent(name, kind, "it is not on this computer"))
    try:
        return loader.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False, **options
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(_absent(name, kind, first_line(error))) from error


def _absent(name: str, kind: str, reason: str) -> str:
    return (
        f"got no {kind} from {name!r} ({reason}), expected a folder, or a hub id that was "
        f"downloaded, with safetensors: try `hf download {name}`"
    )
