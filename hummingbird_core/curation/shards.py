"""WebDataset shards of the kept clips: `ID.mp4`, `ID.txt` (caption) and `ID.json` (all columns)."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..files import atomic_write
from .measure import clip_path
from .table import VERDICT_COLUMNS

if TYPE_CHECKING:
    import pyarrow

PATTERN = "clips-{:06d}.tar"
CLIPS_PER_SHARD = 1000


def write_shards(
    table: pyarrow.Table, clip_folder: Path, folder: Path, clips_per_shard: int = CLIPS_PER_SHARD
) -> list[Path]:
    """Write the kept rows of `table`, replacing the shards of an earlier selection.

    Equal rows give equal bytes.

    Args:
        table: the manifest after `select`.
        clip_folder: folder of all clips.
        folder: output folder of the shards.
        clips_per_shard: maximum number of clips in a shard.

    Returns:
        the paths of the shards.

    Raises:
        InputError: a clip is no longer in `clip_folder`.
        OutputError: a shard cannot be written.
    """
    rows = _kept_rows(table)
    shards: list[Path] = []
    while batch := list(islice(rows, clips_per_shard)):
        path = folder / PATTERN.format(len(shards))
        _write_shard(path, batch, clip_folder)
        shards.append(path)
    for old in set(folder.glob(PATTERN.replace("{:06d}", "*"))) - set(shards):
        old.unlink()
    return shards


def _kept_rows(table: pyarrow.Table) -> Iterator[dict[str, Any]]:
    import pyarrow.compute as pc

    kept = table.filter(pc.field("kept")).drop_columns(list(VERDICT_COLUMNS))
    for batch in kept.to_batches(max_chunksize=CLIPS_PER_SHARD):
        yield from batch.to_pylist()


def _write_shard(path: Path, rows: Iterable[dict[str, Any]], clip_folder: Path) -> None:
    with (
        atomic_write(path) as temporary,
        tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for row in rows:
            caption = row["rewritten_caption"] or row["caption"]
            columns = json.dumps(row, ensure_ascii=False, sort_keys=True)
            _add(tar, f"{row['id']}.mp4", _clip_bytes(clip_path(clip_folder, row["id"])))
            _add(tar, f"{row['id']}.txt", caption.encode())
            _add(tar, f"{row['id']}.json", columns.encode())


def _clip_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read the clip {path}: {error.strerror}; delete the folder `journal` next to "
            "it and curate the source again"
        ) from error


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # owner 0 and time 0: independent of the machine
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
