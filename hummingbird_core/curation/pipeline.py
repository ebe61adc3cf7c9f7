"""The curation pipeline: measure, rewrite captions, select, write.

The output folder:

    manifest.parquet    every clip and every failed video, with all columns and the verdict
    shards/             the kept clips
    report.html
    selection.json      the rules of the selection
    clips/              every clip, with a sample frame
    journal/            finished work, from which an interrupted run resumes
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from ..engines.failures import FailureStreak
from ..engines.journal import Journal, read_journal
from ..engines.local import WORKER_DIED, Engine
from ..engines.locks import only_run_in
from ..errors import InputError
from ..files import atomic_write, remove_leftovers
from ..inputs.parquet import require_parquet
from ..inputs.timed_captions import cut_to_clip, reworded, texts_of, untimed
from ..prompts.text import WORD
from ..terminal import get_logger
from .captions import CaptionConfig, open_enhancer, rewrite_captions
from .descriptions import DescribeConfig, describe_clips
from .embeddings import EmbeddingConfig, add_agreement, read_embeddings
from .judging import JudgeConfig, judge_clips
from .measure import (
    ManifestRow,
    MeasureConfig,
    content_id,
    failed_row,
    measure_source,
    number_columns,
)
from .progress import progress
from .report import write_report
from .selection import SelectionConfig, check_rules, select
from .shards import CLIPS_PER_SHARD, write_shards
from .source_video import SourceVideo
from .table import MODEL_COLUMNS, build_table, read_manifest, write_manifest

if TYPE_CHECKING:
    import numpy as np
    import pyarrow

logger = get_logger(__name__)

NO_CAPTIONS = "no video has a caption, so clips are kept without: training on them needs captions"


@dataclass(frozen=True)
class Curated:
    """Counts of a curation run.

    Attributes:
        videos: number of input videos.
        failed: number of videos that could not be used.
        clips: number of measured clips.
        kept: number of selected clips.
        dropped: rule -> number of clips that it dropped first, the most frequent rule first.
    """

    videos: int
    failed: int
    clips: int
    kept: int
    dropped: Mapping[str, int]


def curate(
    sources: list[SourceVideo],
    output: Path,
    engine: Engine,
    measures: MeasureConfig,
    selection: SelectionConfig,
    captions: CaptionConfig | None = None,
    clips_per_shard: int | None = CLIPS_PER_SHARD,
    command: str = "",
    embeddings: EmbeddingConfig | None = None,
    descriptions: DescribeConfig | None = None,
    judges: Sequence[JudgeConfig] = (),
) -> Curated:
    """Measure the sources that are not in the journal yet, then select and write.

    Args:
        sources: the videos, from `sources.list_sources`.
        output: folder of all results.
        engine: runs the measuring.
        measures: settings that determine the columns.
        selection: rules that determine the kept clips.
        captions: settings of the rewriting of captions; None leaves captions unchanged.
        clips_per_shard: samples in each tar file; None writes no shards and keeps earlier ones.
        command: the command line, shown in the report.
        embeddings: settings of the agreement of clips and captions; None measures none.
        descriptions: settings of captions from frames; None writes none.
        judges: models that add columns.

    Returns:
        counts of videos and clips.

    Raises:
        OutputError: a result cannot be written.
        HummingbirdError: the captions cannot be rewritten, or the selection does not fit.
    """
    require_parquet()
    if not measures.detectors and not judges:  # whose columns are known only after they ran
        added = MODEL_COLUMNS if embeddings or descriptions else ()
        check_rules(selection, [*number_columns(learned=bool(measures.dover)), *added])
    if selection.needs_embeddings and not embeddings:
        read_embeddings(output, [])
    with only_run_in(output):
        journal = output / "journal" / f"measured-{measures.cache_key()}.jsonl"
        _remove_leftovers(output)
        failed = _measure_missing(sources, journal, engine, measures, output / "clips")
        wording = _rewrite(sources, journal, output, captions) if captions else {}
        table = build_table(_all_rows(sources, chain(read_journal(journal), failed), wording))
        if descriptions:
            table = describe_clips(table, output, engine, descriptions)
        elif not any(source.caption for source in sources):
            logger.warning(NO_CAPTIONS)
        if embeddings:
            table = add_agreement(table, output, engine, embeddings)
        for judge in judges:
            table = judge_clips(table, output, engine, judge)
        return _select_and_write(table, output, selection, clips_per_shard, command)


def reselect(
    output: Path,
    selection: SelectionConfig,
    clips_per_shard: int | None = CLIPS_PER_SHARD,
    command: str = "",
) -> Curated:
    """Select again from the manifest in `output` without measuring.

    Args:
        output: folder of an earlier `curate`.
        selection: rules that determine the kept clips.
        clips_per_shard: see `curate`.
        command: see `curate`.

    Returns:
        counts of videos and clips.

    Raises:
        InputError: there is no manifest, or a rule does not fit it.
    """
    manifest = output / "manifest.parquet"
    if not manifest.is_file():  # before the lock, which would create a mistyped folder
        raise InputError(f"there is no {manifest}: curate a SOURCE into this folder first")
    with only_run_in(output):
        _remove_leftovers(output)
        table = read_manifest(manifest)
        return _select_and_write(table, output, selection, clips_per_shard, command)


def _select_and_write(
    table: pyarrow.Table,
    output: Path,
    settings: SelectionConfig,
    clips_per_shard: int | None,
    command: str,
) -> Curated:
    table = select(table, settings, vectors_for(settings, table, output))
    write_manifest(output / "manifest.parquet", table)
    if clips_per_shard is not None:
        write_shards(table, output / "clips", output / "shards", clips_per_shard)
    with atomic_write(output / "selection.json") as temporary:
        temporary.write_text(settings.to_json(), encoding="utf-8")
    write_report(output / "report.html", table, settings, output / "clips", command)
    failed = sum(bool(error) for error in table["error"].to_pylist())
    verdicts = table["dropped_by"].to_pylist()
    return Curated(
        videos=len(set(table["source"].to_pylist())),
        failed=failed,
        clips=len(table) - failed,
        kept=sum(table["kept"].to_pylist()),
        dropped=dict(
            Counter(by.split()[0] for by in verdicts if by and by != "error").most_common()
        ),
    )


def vectors_for(settings: SelectionConfig, table: pyarrow.Table, output: Path) -> np.ndarray | None:
    """Return the embeddings of the clips `[N, D]`, or None if the selection needs none.

    Raises:
        InputError: there are none in the folder `output`.
    """
    if not settings.needs_embeddings:
        return None
    return read_embeddings(output, table["id"].to_pylist())


def _measure_missing(
    sources: list[SourceVideo],
    journal: Path,
    engine: Engine,
    settings: MeasureConfig,
    clip_folder: Path,
) -> list[tuple[str, list[ManifestRow]]]:
    """Measure the sources that are not in the journal and append them to it.

    Returns:
        failures with a cause outside the video. They stay out of the journal, so that the next run
        tries them again.

    Raises:
        HummingbirdError: everything fails for one reason.
    """
    failed: list[tuple[str, list[ManifestRow]]] = []
    done = {key for key, _ in read_journal(journal)}
    todo = [source for source in sources if source.cache_key() not in done]
    stage = partial(measure_source, settings=settings, clip_folder=clip_folder.resolve())
    streak = FailureStreak("videos")
    with (
        Journal(journal) as finished,
        progress("videos", len(sources), len(sources) - len(todo)) as count,
    ):
        for source, rows in engine.map(stage, todo, _lost):
            if rows[0].pop("again", False):
                failed.append((source.cache_key(), rows))
                if Path(source.path).exists():  # a missing file says nothing about the others
                    streak.failed(source.name, rows[0]["error"])
            else:
                finished.append(source.cache_key(), rows)
                if not rows[0].get("error"):
                    streak.succeeded()
            count()
    if failed:
        streak.finish(len(sources))
        first = failed[0][1][0]
        logger.warning(
            "%d of %d videos failed for reasons that may pass, the first, %s, because: %s; the "
            "same command tries them again",
            *(len(failed), len(sources), first["source"], first["error"]),
        )
    return failed


def _lost(source: SourceVideo) -> list[ManifestRow]:
    try:
        with source.on_disk() as path:
            source_id = content_id(path)
    except OSError:  # deleted since it was listed
        source_id = ""
    return [{**failed_row(source, source_id, WORKER_DIED), "again": True}]


def _rewrite(
    sources: list[SourceVideo], journal: Path, output: Path, settings: CaptionConfig
) -> dict[str, str]:
    by_key = {source.cache_key(): source for source in sources}
    with_clips = (
        text
        for key, rows in read_journal(journal)
        if key in by_key and not rows[0].get("error")
        for text in texts_of(by_key[key].caption)
    )
    done = output / "journal" / f"captions-{settings.cache_key()}.jsonl"
    with open_enhancer(settings) as enhancer:
        return rewrite_captions(with_clips, enhancer, settings, done)


def _all_rows(
    sources: list[SourceVideo],
    measured: Iterable[tuple[str, list[ManifestRow]]],
    wording: dict[str, str],
) -> Iterator[ManifestRow]:
    """Yield the measured rows of `sources` with their current captions."""
    by_key = {source.cache_key(): source for source in sources}
    has_captions = any(source.caption for source in sources)
    for key, rows in measured:
        if key in by_key:
            caption = by_key[key].caption
            texts = {"caption": caption, "rewritten_caption": reworded(caption, wording)}
            for row in rows:
                yield {**row, **texts} if row.get("error") else _clip_row(row, texts, has_captions)


def _clip_row(row: ManifestRow, texts: dict[str, str], has_captions: bool) -> ManifestRow:
    """Return the row of a clip with what the captions of its video say about it.

    Args:
        row: as measured.
        texts: caption and rewritten caption of the video, with or without times.
        has_captions: whether any video has a caption.
    """
    place = row["fps"], row["start_frame"], row["num_frames"]
    cut = {name: cut_to_clip(text, *place) for name, text in texts.items()}
    best = "rewritten_caption" if texts["rewritten_caption"] else "caption"
    words = len(WORD.findall(untimed(cut[best][0]))) if has_captions else None
    columns = {name: text for name, (text, _) in cut.items()}
    return {"error": "", **row, **columns, "captions": cut[best][1], "caption_words": words}


def _remove_leftovers(output: Path) -> None:
    """Delete temporary files left by a killed run."""
    for folder in (output, output / "clips", output / "shards"):
        remove_leftovers(folder, locked=True)
