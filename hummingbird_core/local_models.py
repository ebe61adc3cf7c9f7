"""Models of `transformers` on this computer: never code from the hub, never the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .errors import CheckpointError


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

    try:
        return loader.from_pretrained(
            name, local_files_only=True, trust_remote_code=False, **options
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        is_here = Path(name).exists() or not isinstance(error, OSError)
        reason = str(error).strip().partition("\n")[0] if is_here else "it is not on this computer"
        raise CheckpointError(
            f"got no {kind} from {name!r} ({reason}), expected a folder, or a hub id that "
            f"was downloaded, with safetensors: try `hf download {name}`"
        ) from error
