"""`hummingbird evaluate vbench`: the VBench benchmark, from prompts to a ranked table."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from ...errors import InputError
from ...evaluation.vbench.diversity import (
    ImageEncoder,
    coverage_of_videos,
    reduced_pixels,
    seed_spread,
)
from ...evaluation.vbench.flicker import flicker_of_file
from ...evaluation.vbench.official import run_vbench
from ...evaluation.vbench.prompts import SAMPLES, videos_of
from ...evaluation.vbench.report import (
    System,
    draw_radar,
    measured,
    published,
    systems_table,
    to_lines,
    to_record,
)
from ...evaluation.vbench.scores import DIMENSIONS, read_results, write_result
from ...files import atomic_write
from ...generation.run import generate_missing
from ...terminal import get_logger, print_line, print_text
from ...video.diversity import has_collapsed
from ..options import (
    ENGINE_DEFAULTS,
    add_engine,
    add_model,
    add_settings,
    device_engine,
    model_settings,
    video_settings,
)
from ..score import videos_in

logger = get_logger(__name__)

EPILOG = """\
examples:
  all 4720 videos, on all GPUs of this machine; the same command resumes after an interruption
    hummingbird evaluate vbench export -o vbench-07b --model hummingbird-07b.safetensors --steps 4
  a first try: one dimension
    hummingbird evaluate vbench export -o try --dimension temporal_flickering
    hummingbird evaluate vbench flicker try
  how much the seed changes, in the eyes of DINOv2, against the teacher's videos
    hummingbird evaluate vbench diversity vbench-07b --against vbench-teacher \
        --encoder facebook/dinov2-small
  the scores, with the package vbench (installed in a separate environment)
    hummingbird evaluate vbench run vbench-07b
  quality, semantic and total score of its results, and a table with published systems
    hummingbird evaluate vbench totals vbench-07b/results
    hummingbird evaluate vbench compare ours=vbench-07b/results -o vbench-table

The folder holds videos/, results/ and journal.jsonl (finished and failed videos).
"""

# The teacher, the student of its full size, and two closed systems; more lines would overlap.
IN_PLOT = ("VideoCrafter2", "T2V-Turbo (VideoCrafter2)", "Gen-2", "Gen-3")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `hummingbird evaluate vbench`."""
    parser.epilog = EPILOG
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    for action, function, summary, add in (
        (
            "export",
            run_export,
            "generate the videos, with the file names that VBench expects",
            _add_export,
        ),
        ("run", run_official, "score them with the package vbench", _add_run),
        ("flicker", run_flicker, "score temporal flickering, without that package", _add_flicker),
        (
            "diversity",
            run_diversity,
            "measure how much two seeds of a prompt differ, without that package",
            _add_diversity,
        ),
        (
            "totals",
            run_totals,
            "quality, semantic and total score of VBench's results",
            _add_totals,
        ),
        ("compare", run_compare, "a table with the published systems, and a plot", _add_compare),
    ):
        options = actions.add_parser(
            action, help=summary, description=f"{summary[0].upper()}{summary[1:]}."
        )
        add(options)
        options.set_defaults(run_action=function)


def run(args: argparse.Namespace) -> int | None:
    """Run the chosen action."""
    return args.run_action(args)


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", type=Path, required=True, help="output folder")
    _add_dimension(parser)
    parser.add_argument(
        "--samples",
        type=int,
        default=SAMPLES,
        help="videos per prompt; use 25 for temporal_flickering with VBench's static filter",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")
    add_settings(parser.add_argument_group("video"))
    add_model(parser.add_argument_group("model"))
    add_engine(parser.add_argument_group("engine"), "local", *ENGINE_DEFAULTS[1:])


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="output folder of export")
    _add_dimension(parser)
    parser.add_argument("--device", default="cuda", help="device of VBench's models")


def _add_flicker(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="output folder of export")


def _add_diversity(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="output folder of export")
    parser.add_argument(
        "--against", type=Path, metavar="FOLDER", help="export of the teacher, or an earlier model"
    )
    parser.add_argument(
        "--real", type=Path, metavar="FOLDER", help="real videos, for density and coverage"
    )
    parser.add_argument(
        "--encoder",
        metavar="MODEL",
        help="folder or downloaded hub id of an image encoder that no reward of the training uses, "
        "such as facebook/dinov2-small (default: reduced pixels)",
    )


def _add_totals(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", type=Path, help="a result file of VBench, or a folder of them")


def _add_compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "results",
        nargs="*",
        metavar="NAME=RESULTS",
        help="your own systems: a name, and a result file or folder as for totals",
    )
    parser.add_argument("-o", "--output", type=Path, help="write FILE.md, FILE.json and FILE.png")


def _add_dimension(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dimension",
        action="append",
        choices=DIMENSIONS,
        metavar="NAME",
        help="a single dimension; may be repeated (default: all 16)",
    )


def run_export(args: argparse.Namespace) -> int:
    """Generate the videos (`export`); return 2 if some failed."""
    from ...evaluation.vbench.export import export_jobs

    model = model_settings(args)
    jobs = export_jobs(
        args.output / "videos",
        video_settings(args, None),
        model,
        args.dimension or DIMENSIONS,
        args.samples,
    )
    journal = (
        args.output / "journal.jsonl"
    )  # not in videos/: VBench reads every file there as a video
    return generate_missing(jobs, model, args.overwrite, device_engine(args), journal)


def run_official(args: argparse.Namespace) -> None:
    """Score the videos with the package vbench (`run`)."""
    run_vbench(
        args.folder / "videos",
        args.folder / "results",
        args.dimension or list(DIMENSIONS),
        args.device,
    )
    print_text("\n".join(to_lines(_system("", args.folder / "results"))))


def run_flicker(args: argparse.Namespace) -> None:
    """Score temporal flickering (`flicker`)."""
    videos = videos_of(args.folder / "videos", "temporal_flickering")
    scores = [
        (path, flicker_of_file(path))
        for path in tqdm(videos, unit="video", disable=None, leave=False)
    ]
    path = write_result(args.folder / "results", "temporal_flickering", scores)
    mean = sum(score for _, score in scores) / len(scores)
    print_line(f"temporal flickering of {len(scores)} videos: {100 * mean:.2f}")
    print_line(f"wrote {path}")


def run_diversity(args: argparse.Namespace) -> None:
    """Print distances between seeds, against another model's, and coverage (`diversity`)."""
    encode = ImageEncoder.load(args.encoder) if args.encoder else reduced_pixels
    ours = seed_spread(args.folder / "videos", encode)
    unit = f"in the features of {args.encoder}" if args.encoder else "levels of 255"
    print_line(
        f"distance between seeds: {ours.mean:.4g} {unit} ({ours.videos} videos of "
        f"{len(ours.distances)} prompts)"
    )
    if args.against:
        share = ours.against(seed_spread(args.against / "videos", encode))
        print_line(f"against {args.against}: {share:.2f}")
        if has_collapsed(share, 1.0):
            logger.warning(
                "two seeds of a prompt differ by %.0f %% of what they do in %s: the model draws "
                "nearly the same video for every seed",
                *(100 * share, args.against),
            )
    if args.real:
        made = sorted((args.folder / "videos").glob("*.mp4"))
        found = coverage_of_videos(videos_in(args.real), made, encode)
        print_line(f"density {found.density:.2f}, coverage {found.coverage:.2f} of {args.real}")


def run_totals(args: argparse.Namespace) -> None:
    """Print the total scores (`totals`)."""
    print_text("\n".join(to_lines(_system("", args.results))))


def run_compare(args: argparse.Namespace) -> None:
    """Write and print the table and plot of several systems (`compare`)."""
    ours = [_named_system(text) for text in args.results]
    others = published()
    table = systems_table([*ours, *others])
    if args.output:  # first: a closed pipe must not lose it
        _write_comparison(args.output, table, ours, others)
    print_text(table)
    if args.output:
        for suffix in (".md", ".json", ".png"):
            print_line(f"wrote {args.output.with_suffix(suffix)}")


def _write_comparison(
    output: Path, table: str, ours: Sequence[System], others: Sequence[System]
) -> None:
    in_plot = [*ours, *(other for other in others if other.name in IN_PLOT)]
    draw_radar(output.with_suffix(".png"), in_plot)
    _write(output.with_suffix(".md"), table)
    records = [to_record(system) for system in (*ours, *others)]
    _write(output.with_suffix(".json"), json.dumps(records, indent=2))


def _named_system(text: str) -> System:
    name, _, path = text.partition("=")
    if not name or not path:
        raise InputError(f"got {text!r}, expected NAME=RESULTS, such as ours=vbench/results")
    return _system(name, Path(path))


def _system(name: str, path: Path) -> System:
    return measured(name, read_results(path), source="measured here")


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
