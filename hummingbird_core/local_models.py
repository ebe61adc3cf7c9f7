"""Models of `transformers` on this computer: never code from the hub, never the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .errors import CheckpointError, first_line
from .model_files import in_hub_cache


def load_local(loader: Any, name: str, kind: str, **options: Any) -> Any:
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
