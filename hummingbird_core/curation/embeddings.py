"""Embeddings of clips and captions by a model of agreement, and the agreement of both.

The cosine of clip and caption is the column `agreement` of the manifest. The unit vectors of the
clips are in `embeddings.parquet`, for near-duplicates in meaning and a balanced choice.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..agreement.base import cosine, unit_vector
from ..agreement.load import load_text_video, model_identity
from ..engines.local import Engine
from ..errors import HummingbirdError, InputError, first_line
from ..files import atomic_write
from ..inputs.parquet import DAMAGE, require_parquet
from .measure import short_hash
from .model_fields import (
    clip_ids,
    find_values,
    sampled_clip,
    training_captions,
    with_column,
    with_reasons,
)

if TYPE_CHECKING:
    import pyarrow

EMBEDDINGS = "embeddings.parquet"
VERSION = 1  # raised when the vectors of a model change
CLIP, TEXT = "clip:", "text:"  # how keys begin


@dataclass(frozen=True)
class EmbeddingConfig:
    """Settings of the embeddings.

    Args:
        model: name, see `agreement.load.load_text_video`.
    """

    model: str

    def cache_key(self) -> str:
        """Return a cache key of eight letters that changes whenever vectors may change."""
        return short_hash([VERSION, model_identity(self.model)])


def add_agreement(
    table: pyarrow.Table, output: Path, engine: Engine, settings: EmbeddingConfig
) -> pyarrow.Table:
    """Return the manifest with the column `agreement`; write the embeddings of its clips.

    Args:
        table: the manifest without a verdict.
        output: folder of the results.
        engine: runs the model.
        settings: the model.

    Raises:
        OutputError: a result cannot be written.
    """
    ids, captions = clip_ids(table), training_captions(table)
    clips = [CLIP + clip_id for clip_id in ids if clip_id]
    texts = [TEXT + caption for caption in sorted({*captions} - {""})]
    embed = partial(embed_key, model=settings.model, clips=(output / "clips").resolve())
    journal = output / "journal" / f"embeddings-{settings.cache_key()}.jsonl"
    found = find_values("embeddings", [*clips, *texts], embed, engine, journal)
    vectors = {key: _decode(value) for key, value in found.values.items()}
    _drop_odd_ones(vectors, found.reasons)
    _write_embeddings(output / EMBEDDINGS, {k: v for k, v in vectors.items() if k in {*clips}})
    values: list[float | None] = [None] * len(ids)
    reasons: dict[int, str] = {}
    for row, (clip_id, caption) in enumerate(zip(ids, captions, strict=True)):
        keys = [CLIP + clip_id, TEXT + caption]
        missing = [found.reasons[key] for key in keys if key in found.reasons]
        if clip_id and missing:
            reasons[row] = missing[0]
        elif clip_id and caption:
            values[row] = cosine(vectors[keys[0]], vectors[keys[1]])
    table = with_reasons(table, "agreement", reasons)
    return with_column(table, "agreement", values)


def embed_key(key: str, model: str, clips: Path) -> str:
    """Return the vector of a clip or a text as base64 of float16.

    Args:
        key: CLIP and an id, or TEXT and a caption.
        model: name of the model of agreement.
        clips: folder of the clips.

    Raises:
        Exception: whatever the model raises.
    """
    loaded = load_text_video(model)
    if key.startswith(TEXT):
        answer = loaded.embed_text(key.removeprefix(TEXT))
    else:
        frames, _ = sampled_clip(clips, key.removeprefix(CLIP))
        answer = loaded.embed_video(frames)
    return base64.b64encode(unit_vector(answer).astype("<f2").tobytes()).decode()


def _decode(value: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(value), "<f2").astype(np.float32)


def _drop_odd_ones(vectors: dict[str, np.ndarray], reasons: dict[str, str]) -> None:
    """Take out the vectors whose length is not that of most."""
    lengths = Counter(len(vector) for vector in vectors.values())
    usual = max(lengths, key=lambda length: lengths[length], default=0)
    for key in [key for key, vector in vectors.items() if len(vector) != usual]:
        reasons[key] = f"got {len(vectors.pop(key))} numbers from the model, others have {usual}"


def _write_embeddings(path: Path, vectors: Mapping[str, np.ndarray]) -> None:
    import pyarrow as pa

    keys = sorted(vectors)
    size = len(vectors[keys[0]]) if keys else 1
    flat = np.concatenate([vectors[key] for key in keys]) if keys else np.empty(0, np.float32)
    columns = {
        "id": pa.array([key.removeprefix(CLIP) for key in keys], pa.string()),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float32()), size),
    }
    with atomic_write(path) as temporary:
        require_parquet().write_table(pa.table(columns), temporary, compression="zstd")


def read_embeddings(output: Path, ids: Sequence[str]) -> np.ndarray:
    """Return the unit vectors of clips, float32 `[N, D]`, NaN for a clip without one.

    Args:
        output: folder of an earlier curation with a model of agreement.
        ids: of the clips.

    Raises:
        InputError: there are no embeddings, or they are damaged.
    """
    path = output / EMBEDDINGS
    if not path.is_file():
        raise InputError(
            f"there is no {path}, which max_similarity and balance need: curate the SOURCE with "
            "--agreement MODEL first"
        )
    try:
        table = require_parquet().read_table(path, columns=["id", "vector"])
        flat = table["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        stored = flat.reshape(len(table), -1) if len(table) else np.empty((0, 1), np.float32)
    except (*DAMAGE, ValueError) as error:
        raise InputError(f"cannot read {path}: {first_line(error)}; curate again") from error
    place = {clip_id: row for row, clip_id in enumerate(table["id"].to_pylist())}
    vectors = np.full((len(ids), stored.shape[1]), np.nan, np.float32)
    known = [row for row, clip_id in enumerate(ids) if clip_id in place]
    vectors[known] = stored[[place[ids[row]] for row in known]]
    return vectors


def check_model(name: str) -> str:
    """Return why a model of agreement cannot be loaded, "" if it can."""
    try:
        load_text_video(name)
    except HummingbirdError as error:
        return str(error)
    return ""
