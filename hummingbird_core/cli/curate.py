"""`hummingbird curate`: build a training dataset from raw videos."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..terminal import print_error, print_line, print_text
from .curate_options import (
    add_agreement,
    add_answers,
    add_captions,
    add_descriptions,
    add_judges,
    add_measures,
    add_selection,
    add_source,
)
from .options import add_engine, create_engine

if TYPE_CHECKING:
    from ..curation.captions import CaptionConfig
    from ..curation.descriptions import DescribeConfig
    from ..curation.embeddings import EmbeddingConfig
    from ..curation.judging import JudgeConfig
    from ..curation.measure import MeasureConfig
    from ..curation.selection import SelectionConfig
    from ..curation.source_video import SourceVideo

EPILOG = """\
examples:
  a folder of videos, with captions in .txt or .json files of the same names:
    hummingbird curate videos -o curated
  other sources: a CSV or parquet table of paths and captions, or WebDataset shards:
    hummingbird curate videos.csv -o curated --video-column clip --caption-column title
  with the learned scores, keeping the best 80 %:
    hummingbird curate videos -o curated --dover DOVER.pth --min overall=q0.2
  with other thresholds later, without measuring again:
    hummingbird curate -o curated --max blur=0.5 --no-rule dolly_zoom
  these limits stay in force for the next such call, until --default-rules
  what other limits would keep, and why a clip was dropped, without changing anything:
    hummingbird curate -o curated --preview --max blur=0.4
    hummingbird curate -o curated --explain holiday.mp4
  how well clips and captions agree, by a CLIP model, without the worst tenth and without repeats:
    hummingbird curate videos -o curated --agreement openai/clip-vit-base-patch32
        --min agreement=q0.1 --max-similarity 0.95
  what is seen, as the caption of clips that have none, by a vision-language model's server:
    hummingbird curate videos -o curated --describe server --describe-model qwen2.5vl
  captions corrected by a language model's server:
    hummingbird curate videos -o curated --captions server --caption-model llama3.1
  on a Ray cluster:
    hummingbird curate videos -o /shared/curated --engine ray --ray-address auto

The folder holds manifest.parquet (every clip, its measures, why it was dropped), shards/ (the kept
clips), report.html, and selection.json (the thresholds; edit it and pass it to --selection).
Run the same command again after an interruption: only unfinished work is repeated.
"""

EMBEDDING_CHOICES = ("max_similarity", "balance", "clusters")
# Options that work without a source.
RESELECTING = {
    *("output", "selection", "default_rules", "min", "max", "no_rule", "no_shards"),
    *("clips_per_shard", "explain", "preview", *EMBEDDING_CHOICES),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `hummingbird curate`."""
    parser.epilog = EPILOG
    parser.add_argument(
        "source",
        nargs="?",
        type=Path,
        help="a folder, .csv, .parquet or .tar; without it, apply the selection to OUTPUT again",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="output folder")
    add_source(parser.add_argument_group("source"))
    add_measures(parser.add_argument_group("measures"))
    add_captions(parser.add_argument_group("captions"))
    add_descriptions(parser.add_argument_group("captions from frames"))
    add_judges(parser.add_argument_group("judges"))
    add_agreement(parser.add_argument_group("agreement and embeddings"))
    add_selection(parser.add_argument_group("selection"))
    add_answers(parser.add_argument_group("questions about a selection"))
    add_engine(
        parser.add_argument_group("engine"),
        "local",
        "the number of cores",
        "1 for --dover where there is a GPU here, else 0",
    )


def run(args: argparse.Namespace) -> None:
    """Curate, or select again, and print a summary."""
    from ..curation.pipeline import curate, reselect

    selection = _selection(args)
    if args.clips_per_shard < 1:
        raise InputError(f"got {args.clips_per_shard} clips per shard, expected at least 1")
    clips_per_shard = None if args.no_shards else args.clips_per_shard
    if args.explain is not None or args.preview:
        _answer(args, selection)
        return
    _report_rules(args, selection)
    command = shlex.join(["hummingbird", *sys.argv[1:]])
    if args.source is None:
        _check_unused(args)
        result = reselect(args.output, selection, clips_per_shard, command)
    else:
        from ..curation.sources import list_sources
        from ..devices import visible_gpus

        _check_apart(args.source, args.output)
        sources = list_sources(
            args.source, video_column=args.video_column, caption_column=args.caption_column
        )
        _check_links(sources, args.output)
        result = curate(
            sources,
            args.output,
            create_engine(args, os.cpu_count() or 1, visible_gpus() if _uses_gpu(args) else []),
            _measures(args),
            selection,
            _captions(args),
            clips_per_shard,
            command,
            _embeddings(args),
            _descriptions(args),
            _judges(args),
        )
    print_line(
        f"{result.videos} videos ({result.failed} could not be used), {result.clips} clips, "
        f"{result.kept} kept"
    )
    if result.dropped:
        counts = ", ".join(f"{rule} {count}" for rule, count in result.dropped.items())
        print_line(f"dropped by: {counts}")
    written = ["manifest.parquet", "report.html", *([] if args.no_shards else ["shards"])]
    for name in written:
        print_line(f"wrote {args.output / name}")


def _check_unused(args: argparse.Namespace) -> None:
    """Raise InputError if an option was given that only works with a source."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    defaults = vars(parser.parse_args(["-o", str(args.output)]))
    unused = [
        name for name in defaults.keys() - RESELECTING if getattr(args, name) != defaults[name]
    ]
    if unused:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(unused))
        raise InputError(f"got {flags} without a SOURCE, which selects again only: give the SOURCE")


def _check_apart(source: Path, output: Path) -> None:
    if output.resolve().is_relative_to(source.resolve()):
        raise InputError(
            f"the output {output} is inside the source, where a second run would curate its "
            "clips: choose a folder elsewhere"
        )
    if source.resolve().is_relative_to(output.resolve()):
        raise InputError(
            f"the source {source} is inside the output {output}, where shards and manifests of an "
            "earlier run are replaced: choose another folder for the output"
        )


def _check_links(sources: Iterable[SourceVideo], output: Path) -> None:
    """Raise InputError if a link in the source leads into the output."""
    folders = {Path(video.path).parent for video in sources}
    inside = [folder for folder in folders if folder.resolve().is_relative_to(output.resolve())]
    if inside:
        raise InputError(
            f"the source has a link to {min(inside)} inside the output, where a second run would "
            "curate its clips: remove the link, or choose another folder for the output"
        )


def _measures(args: argparse.Namespace) -> MeasureConfig:
    """Return the config of the measures, after checking weights and detectors once, up front."""
    from ..curation.measure import MeasureConfig
    from ..curation.stages.overlays import load_detector

    settings = MeasureConfig(
        max_seconds=args.max_seconds,
        max_height=args.max_height,
        dover=str(args.dover.resolve()) if args.dover else None,
        detectors=tuple(args.detector),
    )
    for name in settings.detectors:
        load_detector(name)
    if settings.dover:
        from ..vqa import load_dover

        load_dover(settings.dover)
    return settings


def _uses_gpu(args: argparse.Namespace) -> bool:
    return bool(args.dover or args.agreement or args.judge or args.describe == "local")


def _judges(args: argparse.Namespace) -> list[JudgeConfig]:
    from ..curation.judging import JudgeConfig

    return [JudgeConfig.parse(text) for text in args.judge]


def _embeddings(args: argparse.Namespace) -> EmbeddingConfig | None:
    from ..curation.embeddings import EmbeddingConfig

    return EmbeddingConfig(args.agreement) if args.agreement else None


def _descriptions(args: argparse.Namespace) -> DescribeConfig | None:
    from ..curation.descriptions import DescribeConfig
    from ..prompts.backends.address import DEFAULT_URL, check_url

    if not args.describe:
        return None
    url = check_url(args.describe_url or DEFAULT_URL)
    if args.describe == "local" and not args.describe_model:
        raise InputError("got --describe local without a model: name one with --describe-model")
    return DescribeConfig(args.describe, args.describe_model, url)


def _captions(args: argparse.Namespace) -> CaptionConfig | None:
    from ..curation.captions import CaptionConfig
    from ..prompts.backends.address import DEFAULT_URL

    if args.captions == "keep":
        return None
    return CaptionConfig(
        source=args.captions,
        model=args.caption_model,
        url=args.caption_url or DEFAULT_URL,
        failure_budget=args.caption_failures,
    )


def _selection(args: argparse.Namespace) -> SelectionConfig:
    from ..curation.selection import Limit, Rule, SelectionConfig
    from ..curation.selection_file import read_selection

    file = _selection_file(args)
    settings = read_selection(file) if file else SelectionConfig()
    rules = dict(settings.rules)
    for name in args.no_rule:
        rules.pop(name, None)
    for field, limits in (("minimum", args.min), ("maximum", args.max)):
        for text in limits:
            column, _, value = text.partition("=")
            rules[column] = replace(rules.get(column, Rule()), **{field: Limit.parse(value)})
    chosen = {name: getattr(args, name) for name in EMBEDDING_CHOICES}
    given = {name: value for name, value in chosen.items() if value is not None}
    return replace(settings, rules=rules, **given)


def _selection_file(args: argparse.Namespace) -> Path | None:
    """Return the file of rules to begin with, None for the default rules."""
    last = args.output / "selection.json"
    if args.selection or args.source or args.default_rules or not last.is_file():
        return args.selection
    return last


def _answer(args: argparse.Namespace, selection: SelectionConfig) -> None:
    """Print what --explain and --preview ask for."""
    from ..curation.explain import explain, preview
    from ..curation.pipeline import vectors_for
    from ..curation.selection_file import read_selection
    from ..curation.table import read_manifest

    if args.source:
        raise InputError("got a SOURCE with --explain or --preview, which read OUTPUT: omit it")
    table = read_manifest(args.output / "manifest.parquet")
    if args.explain is not None:
        vectors = vectors_for(selection, table, args.output)
        print_text("\n".join(explain(table, selection, args.explain, vectors)))
    if args.preview:
        last = args.output / "selection.json"
        settings = selection if selection.needs_embeddings else read_selection(last)
        vectors = vectors_for(settings, table, args.output)
        print_text("\n".join(preview(table, selection, last, vectors)))


def _report_rules(args: argparse.Namespace, selection: SelectionConfig) -> None:
    """Say on the standard error which rules of the last selection in the folder do not hold now."""
    from ..curation.selection_file import read_selection

    try:
        last = read_selection(args.output / "selection.json").rules
    except InputError:  # none yet, or one that people edited: it is replaced in any case
        return
    now = selection.rules
    gone = [name for name in {**last, **now} if last.get(name) != now.get(name)]
    if gone:
        print_error(
            f"other limits than in the last selection here: {', '.join(gone)}; selection.json is "
            "replaced"
        )
