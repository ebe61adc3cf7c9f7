"""Look-up of a model's file by name, on this computer only."""

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
BUILT_IN_AGREEMENT = "nano-agreement"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def resolve_model(name_or_path: str | Path) -> Path:
    """Return the checkpoint file or folder of a model.

    Args:
        name_or_path: "nano", "nano-teacher", a file, a folder, or a hub id ("owner/name") whose
            repository is in the hub's local cache.

    Raises:
        CheckpointError: no model of this name is on this computer.
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


def agreement_file(name_or_path: str | Path) -> Path:
    """Return the file of the packaged model of agreement by its name; any other path as it is."""
    if str(name_or_path) == BUILT_IN_AGREEMENT:
        return ASSETS / "nano" / f"{BUILT_IN_AGREEMENT}.safetensors"
    return Path(name_or_path)


def in_hub_cache(hub_id: str) -> Path | None:
    """Return the folder of a hub id ("owner/name") in the hub's local cache, None if absent."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_id, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, HfHubHTTPError):
        return None


def from_pretrained_offline(loader: Any, name: str, kind: str, **options: Any) -> Any:
    """Call `loader.from_pretrained` on a folder or a downloaded hub id, without the network.

    Args:
        loader: class of a model, tokenizer or processor.
        name: folder or hub id.
        kind: role of the model in the error message, such as "language model".
        **options: further arguments of `from_pretrained`.

    Returns:
        an instance of `loader`.

    Raises:
        CheckpointError: the files are missing or damaged.
    """
    from safetensors import SafetensorError

    # Always pass a folder: for a hub id, `AutoModel` queries the network for an adapter.
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
