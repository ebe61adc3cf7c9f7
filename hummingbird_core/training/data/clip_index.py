"""Lists of training clips: a folder, a table, shards, or the output of `hummingbird curate`.

Opens tables of names and captions only; see `curation.sources` for their formats.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from ...curation.measure import clip_path
from ...curation.source_video import SourceVideo
from ...curation.sources import VIDEO_SUFFIXES, list_sources
from ...errors import InputError
from ...inputs.names import kind_of
from ...inputs.parquet import DAMAGE, require_parquet

PICTURE_SUFFIXES = frozenset([".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"])
MANIFEST = "manifest.parquet"
METADATA_FILES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")  # as in folders of the hub
MAX_SHARDS = 1_000_000
_BRACES = re.compile(r"\{(\d{1,15})\.\.(\d{1,15})\}")


def list_clips(
    source: str | Path, *, suffixes: Collection[str] = VIDEO_SUFFIXES
) -> list[SourceVideo]:
    """List all clips of `source` with their captions, sorted by name.

    Args:
        source: the output folder of `hummingbird curate` (its kept clips), a folder with a table
            `metadata.csv`, `.jsonl` or `.parquet`, a folder of clips with caption files, a
            table of paths and captions, a WebDataset shard, a folder of these, or many as
            `clips-{000000..000012}.tar`.
        suffixes: file names that count as clips in a folder or shard.

    Raises:
        InputError: there is no such source, it is damaged, or it holds no clip.
        MissingPackageError: it is a parquet file, and pyarrow is not installed.
    """
    path = Path(source)
    if _BRACES.search(path.name):
        shards = expand_braces(path)
        return [clip for shard in shards for clip in list_sources(shard, suffixes=suffixes)]
    if kind_of(path / MANIFEST) == "file":
        return list_curated(path)
    tables = (path / name for name in METADATA_FILES if kind_of(path / name) == "file")
    table = next(tables, path)
    return list_sources(table, suffixes=suffixes)


def expand_braces(pattern: Path) -> list[Path]:
    """Expand WebDataset's shard names, `a-{08..09}.tar` to `a-08.tar` and `a-09.tar`.

    Raises:
        InputError: there are too many.
    """
    match = _BRACES.search(pattern.name)
    if match is None:
        return [pattern]
    first, last = match.groups()
    if int(last) - int(first) >= MAX_SHARDS:
        raise InputError(f"got {pattern.name}, expected at most {MAX_SHARDS:,} shards: name fewer")
    numbers = (str(number).zfill(len(first)) for number in range(int(first), int(last) + 1))
    return [pattern.with_name(_BRACES.sub(number, pattern.name, count=1)) for number in numbers]


def list_curated(folder: Path) -> list[SourceVideo]:
    """List the clips that `hummingbird curate` kept in `folder`, with rewritten captions if any.

    Raises:
        InputError: the manifest cannot be read, or no clip was kept.
        MissingPackageError: pyarrow is not installed.
    """
    if not (folder / "clips").is_dir():  # deleted to save space: the shards hold the kept ones
        return list_sources(folder / "shards")
    columns = ["id", "caption", "rewritten_caption", "kept"]
    try:
        table = require_parquet().read_table(folder / MANIFEST, columns=columns)
    except DAMAGE as error:
        raise InputError(f"cannot read {folder / MANIFEST}: {error}; curate again") from error
    kept = [row for row in table.to_pylist() if row["kept"]]
    if not kept:
        raise InputError(
            f"got {folder} with {len(table)} clips of which curation kept none: loosen its limits, "
            "see `hummingbird curate --help`"
        )
    clips = (
        SourceVideo(
            name=row["id"],
            path=str(clip_path(folder / "clips", row["id"]).resolve()),
            caption=row["rewritten_caption"] or row["caption"] or "",
        )
        for row in kept
    )
    return sorted(clips, key=lambda clip: clip.name)
