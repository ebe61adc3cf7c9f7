"""Options of `hummingbird curate`, by group."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_source(group: argparse._ArgumentGroup) -> None:
    """Declare how the source is read."""
    group.add_argument(
        "--video-column", metavar="NAME", help="video column of a table (default: path, ...)"
    )
    group.add_argument(
        "--caption-column", metavar="NAME", help="caption column of a table (default: caption, ...)"
    )


def add_measures(group: argparse._ArgumentGroup) -> None:
    """Declare what is measured."""
    group.add_argument("--max-seconds", type=float, default=5.0, help="longest clip")
    group.add_argument(
        "--max-height", type=int, default=720, help="larger videos are downscaled to this height"
    )
    group.add_argument("--dover", metavar="FILE", type=Path, help="weights of the learned scores")
    group.add_argument(
        "--detector",
        action="append",
        default=[],
        metavar="MODULE:FUNCTION",
        help="add columns of your own, e.g. a watermark score: a function of frames (uint8 "
        "[T,H,W,3]) and fps that returns a dict of numbers; may be repeated",
    )


def add_judges(group: argparse._ArgumentGroup) -> None:
    """Declare which models judge clips."""
    group.add_argument(
        "--judge",
        action="append",
        default=[],
        metavar="MODULE:FUNCTION[=MODEL]",
        help="add columns by a model, such as nsfw or text_area: docs/guides/data.md lists "
        "adapters; what it cannot do for a clip is absent; may be repeated",
    )


def add_captions(group: argparse._ArgumentGroup) -> None:
    """Declare how captions are corrected."""
    group.add_argument(
        "--captions",
        choices=("keep", "local", "server"),
        default="keep",
        help="keep the captions, or correct them with a language model, which may add nothing to "
        "what they say (to add camera and style to prompts: hummingbird enhance)",
    )
    group.add_argument(
        "--caption-model",
        metavar="MODEL",
        help="language model: a folder, a hub id or its name on the server",
    )
    group.add_argument(
        "--caption-url", metavar="URL", help="URL of the server (default: local Ollama)"
    )
    group.add_argument(
        "--caption-failures",
        type=int,
        default=100,
        metavar="N",
        help="stop after this many unanswered requests",
    )


def add_descriptions(group: argparse._ArgumentGroup) -> None:
    """Declare how captions are written from frames."""
    group.add_argument(
        "--describe",
        metavar="SOURCE",
        help="write what is seen in each clip, in short and at length, by a vision-language model: "
        "local, server, or MODULE:FUNCTION of your own; clips without a caption take it",
    )
    group.add_argument(
        "--describe-model",
        metavar="MODEL",
        help="vision-language model: a folder, a downloaded hub id or its name on the server",
    )
    group.add_argument(
        "--describe-url", metavar="URL", help="URL of the server (default: local Ollama)"
    )


def add_agreement(group: argparse._ArgumentGroup) -> None:
    """Declare how clips and captions are compared."""
    group.add_argument(
        "--agreement",
        metavar="MODEL",
        help="measure how well clips and captions agree, as the column agreement: a folder or "
        "downloaded hub id of a CLIP-class model, a file of `hummingbird train agreement`, or "
        "MODULE:FUNCTION",
    )
    group.add_argument(
        "--max-similarity",
        type=float,
        metavar="COSINE",
        help="of clips that show the same, such as 0.95 alike, keep the best; needs --agreement",
    )
    group.add_argument(
        "--balance",
        type=int,
        metavar="N",
        help="keep N clips, evenly over clusters of what they show; needs --agreement",
    )
    group.add_argument(
        "--clusters",
        type=int,
        metavar="K",
        help="number of these clusters (default: the square root of the number of clips)",
    )


def add_answers(group: argparse._ArgumentGroup) -> None:
    """Declare questions that change nothing."""
    group.add_argument(
        "--explain",
        metavar="CLIP",
        help="without a SOURCE: print every measure of a clip (an id, or the name of a video) "
        "with its limits, and change nothing",
    )
    group.add_argument(
        "--preview",
        action="store_true",
        help="without a SOURCE: print what these rules would keep and drop, and change nothing",
    )


def add_selection(group: argparse._ArgumentGroup) -> None:
    """Declare which clips are kept."""
    group.add_argument(
        "--selection",
        metavar="FILE",
        type=Path,
        help="JSON file of rules (default: with a SOURCE the default rules, without one those of "
        "OUTPUT/selection.json, the last selection)",
    )
    group.add_argument(
        "--default-rules",
        action="store_true",
        help="without a SOURCE: begin with the default rules, not with the last selection",
    )
    for flag in ("--min", "--max"):
        group.add_argument(
            flag,
            action="append",
            default=[],
            metavar="COLUMN=VALUE",
            help="a limit, or a quantile such as overall=q0.2; may be repeated",
        )
    group.add_argument(
        "--no-rule", action="append", default=[], metavar="COLUMN", help="drop a rule"
    )
    group.add_argument(
        "--no-shards",
        action="store_true",
        help="write manifest and report only, to try thresholds; existing shards stay",
    )
    group.add_argument(
        "--clips-per-shard", type=int, default=1000, metavar="N", help="clips in each .tar file"
    )
