"""Load a model of agreement by name. Nothing is downloaded here."""

from __future__ import annotations

import hashlib
import sys
from functools import lru_cache
from pathlib import Path

from ..errors import HummingbirdError, InputError, first_line
from ..files import import_callable, sha256_of_file
from ..hub.local import agreement_file, in_hub_cache
from .base import KIND, TextVideoModel

IDENTIFYING = ("*.json", "*.safetensors")  # files that determine the answers of a folder's model


@lru_cache(maxsize=1)  # once in each process
def load_text_video(name: str) -> TextVideoModel:
    """Load a model of agreement.

    Args:
        name: "nano-agreement", the packaged model of the built-in world, or a file like it that
            `hummingbird train agreement` wrote; a folder or downloaded hub id of a CLIP-class model
            of transformers; or `MODULE:FUNCTION`, which is called without arguments and returns a
            `TextVideoModel`.

    Raises:
        HummingbirdError: there is no such model, or it is of another kind.
    """
    if agreement_file(name).is_file():
        from .small import SmallVideoModel

        return SmallVideoModel.load(name)
    if not is_import_name(name):
        from .images import ImageTextModel

        return ImageTextModel.load(name)
    try:
        model = import_callable(name, KIND)()
    except HummingbirdError:
        raise
    except Exception as error:  # of another author's code
        raise InputError(f"the {KIND} {name} failed: {first_line(error)}; correct it") from error
    if not all(callable(getattr(model, part, None)) for part in ("embed_video", "embed_text")):
        raise InputError(
            f"got {type(model).__name__} from the {KIND} {name}, expected an object with "
            "embed_video(frames) and embed_text(text): see docs/guides/data.md"
        )
    return model


def is_import_name(name: str) -> bool:
    """Return whether a name reads as `MODULE:FUNCTION`, and is no existing folder."""
    return ":" in name and not Path(name).exists()


def model_identity(name: str) -> str:
    """Return a hash that changes whenever the answers of the model of this name may change."""
    digest = hashlib.sha256(name.encode())
    for file in _files_of(name):
        digest.update(sha256_of_file(file).encode())
    return digest.hexdigest()[:16]


def _files_of(name: str) -> list[Path]:
    if is_import_name(name):
        module = sys.modules.get(name.partition(":")[0])
        source = getattr(module, "__file__", None)
        return [Path(source)] if source else []
    path = agreement_file(name)
    if path.is_file():
        return [path]
    folder = path if path.is_dir() else in_hub_cache(name)
    return sorted(file for kind in IDENTIFYING for file in folder.glob(kind)) if folder else []
