"""A disk cache of language models' answers.

A request costs seconds or money, and a server may answer differently even with the same seed. Each
answer is one small JSON file; deleting any of them is safe.
"""

from __future__ import annotations

import json
import os
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..files import atomic_write, check_destination
from ..terminal import get_logger
from .backends.base import Chat

logger = get_logger(__name__)

FOLDER_VARIABLE = "HUMMINGBIRD_CACHE"


def default_cache_dir() -> Path:
    """Return `$HUMMINGBIRD_CACHE`, or `hummingbird` in the system's cache folder; not created."""
    if chosen := os.environ.get(FOLDER_VARIABLE):
        return Path(chosen)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "hummingbird"


class CachedChat(Chat):
    """A language model whose answers are cached.

    Args:
        chat: the model.
        folder: folder of the cache; if it is not writable, answers are not cached, without an
            error.
    """

    def __init__(self, chat: Chat, folder: Path):
        self.source = chat.source
        self._chat = chat
        self._folder = folder

    @property
    def model(self) -> str:
        """Name of the wrapped model."""
        return self._chat.model

    @property
    def provenance(self) -> dict[str, Any]:
        """Provenance of the wrapped model."""
        return self._chat.provenance

    def answer(self, system: str, question: str, seed: int) -> str:
        """Return the cached answer, or ask the model and cache its answer unless it is empty."""
        asked = {**self.provenance, "system": system, "question": question, "seed": seed}
        key = sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        path = self._folder / f"{key}.json"
        known = _read(path)
        if known is not None:
            return known
        answer = self._chat.answer(system, question, seed)
        if answer.strip():
            _write(path, {**asked, "answer": answer})
        return answer

    def close(self) -> None:
        """Free the memory of the wrapped model."""
        self._chat.close()


def _read(path: Path) -> str | None:
    try:
        answer = json.loads(path.read_text(encoding="utf-8"))["answer"]
    except (OSError, ValueError, KeyError, TypeError):
        return None  # missing or damaged: it will be written again
    return answer if isinstance(answer, str) else None


def _write(path: Path, entry: dict[str, Any]) -> None:
    try:
        check_destination(path, overwrite=True)
        with atomic_write(path) as temporary:
            temporary.write_bytes(json.dumps(entry, indent=1).encode())
    except OutputError as error:
        logger.warning("the answer is not cached: %s", error)
