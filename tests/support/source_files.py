"""Folders, shards and their captions, for tests of sources."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from hummingbird_core.curation.sources import list_sources


def folder_of(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def shard_of(path: Path, members: dict[str, str]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content.encode())
            tar.addfile(info, io.BytesIO(content.encode()))
    return path


def captions_of(source: Path, **options) -> dict[str, str]:
    """Captions by name, with the error of what cannot be used."""
    return {video.name: video.error or video.caption for video in list_sources(source, **options)}
